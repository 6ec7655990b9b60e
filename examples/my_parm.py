"""Your own transformer in PARM's place, on paho-mqtt alone: storefleet up --fleet examples/one_brand.toml \
--stage 'parm=python examples/my_parm.py'. It turns raw events of the POSLog-like dialect "burger" into canonical ones; a
raw event is acknowledged once the broker has accepted the canonical one, or the dead letter of what cannot be read."""

import json
import os
import re
import time
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

ROOT = os.environ["STOREFLEET_TOPIC_ROOT"]
WORDS = """ItemType=transaction_type ReceiptNumber=receipt_number OperatorID=operator_id TillID=till_id GTIN=- POSIDType=-
ChannelTypeCode=service_mode BeginDateTime=begin_time EndDateTime=end_time TrainingModeFlag=training_mode Tender=tenders
LineItem=line_items TransactionNetAmount=net_cents TransactionTaxAmount=tax_cents TransactionGrandAmount=grand_cents
ItemID=item_id POSItemID=gtin Description=description Quantity=quantity RegularSalesUnitPrice=unit_price_cents
ExtendedDiscountAmount=discount_cents ExtendedAmount=extended_cents TaxAmount=tax_cents TenderType=tender_type
Amount=amount_cents EntryMethod=entry_mode CardNumberMasked=masked_pan AuthorizationCode=authorization_code
ApproverID=manager_id ReasonCode=reason_code ControlTypeCode=control_type ExpectedAmount=expected_cents
CountedAmount=counted_cents Device=component FromState=from_state ToState=to_state Severity=severity"""
NAMES = dict(pair.split("=") for pair in WORDS.split())
CODES = {"transaction_type", "service_mode", "tender_type", "entry_mode", "control_type", "severity"}


def code(text):
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).upper().removeprefix("OPERATOR_").removeprefix("TENDER_")
    return words.replace("_DAY", "_OF_DAY")


def fields(body, **names):
    found = {}
    for theirs, value in body.items():
        ours = names.get(theirs) or NAMES[theirs] if not isinstance(value, dict) else "-"
        if isinstance(value, dict):
            found |= fields(value, **names)  # our records are flatter than theirs
        elif ours != "-":
            lines = isinstance(value, list) and [fields(one, SequenceNumber="line") for one in value]
            found[ours] = lines or (code(value) if ours in CODES else value)
    return found


def canonical(raw, source):
    kind = raw["TransactionTypeCode"]
    special = {"VoidedSequenceNumber": "voided_key", "SequenceNumber": "original_key"}
    data = fields(raw[kind], **special, **({"Amount": "grand_cents"} if kind == "VoidTransaction" else {}))
    data |= {name: f"{source}.{data[name]}" for name in ("voided_key", "original_key") if name in data}
    if kind == "RetailTransaction":
        data.setdefault("original_key", "")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.removesuffix("Transaction")).lower()
    return {"key": f"{source}.{raw['SequenceNumber']}", "source": source, "sequence": raw["SequenceNumber"],
            "type": "terminal.alert" if kind == "WorkstationAlert" else f"transaction.{name}", "data": data,
            "time": raw["PostedDateTime"], "business_day_date": raw["BusinessDayDate"]}  # fmt: skip


def on_message(client, waiting, message):
    place, source = message.topic.removeprefix(f"{ROOT}/terminal/transaction/"), message.topic.rpartition("/")[2]
    try:
        event = json.dumps(canonical(json.loads(message.payload), source))
        send(client, waiting, message, f"{ROOT}/canonical/transaction/{place}", event, message.properties)
    except (ValueError, LookupError, TypeError, AttributeError):
        client.publish(f"{ROOT}/dead-letter/parm/schema/{source}", message.payload, qos=1)
        sequence = int(dict(message.properties.UserProperty)["sequence"])
        told = {"by": "parm", "rejected": [{"sequence": sequence, "stage": "parm", "reason": "schema"}]}
        send(client, waiting, message, f"{ROOT}/command/outcome/{place}", json.dumps(told), None)


def send(client, waiting, message, *publication):
    topic, payload, properties = publication
    waiting[client.publish(topic, payload, qos=1, properties=properties).mid] = message, *publication


def on_publish(client, waiting, number, reason, _):
    message, *publication = waiting.pop(number, (None,))
    if message is not None and reason.value == 0:
        client.ack(message.mid, message.qos)
    elif message is not None:  # refused, or nobody subscribes yet: that is no acceptance
        time.sleep(0.1)
        send(client, waiting, message, *publication)


def main():
    broker = urlsplit(os.environ["STOREFLEET_BROKER_URL"])
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, os.environ["STOREFLEET_CLIENT_ID"], userdata={},
                         protocol=mqtt.MQTTv5, manual_ack=True)  # fmt: skip
    client.on_connect = lambda *_: client.subscribe(f"$share/parm/{ROOT}/terminal/transaction/#", qos=1)
    client.on_message, client.on_publish = on_message, on_publish
    session = mqtt.Properties(mqtt.PacketTypes.CONNECT)
    session.SessionExpiryInterval = 30
    client.connect(broker.hostname, broker.port, clean_start=False, properties=session)
    client.loop_forever()


if __name__ == "__main__":
    main()
