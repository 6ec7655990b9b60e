"""Your own transformer in PARM's place, on paho-mqtt alone: storefleet up --fleet examples/one_brand.toml \
--stage 'parm=python examples/my_parm.py'. It turns raw events of the POSLog-like dialect "burger" into canonical ones; a
raw event is acknowledged once the broker has accepted the canonical one, or the rejection of what cannot be read."""

import json
import os
import re
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

ROOT = os.environ["STOREFLEET_TOPIC_ROOT"]
WORDS = """ItemType=transaction_type ChannelTypeCode=service_mode BeginDateTime=begin_time EndDateTime=end_time
TrainingModeFlag=training_mode LineItem=line_items Tender=tenders TransactionNetAmount=net_cents Amount=amount_cents
TransactionTaxAmount=tax_cents TransactionGrandAmount=grand_cents POSIDType=- POSItemID=gtin TaxAmount=tax_cents
RegularSalesUnitPrice=unit_price_cents ExtendedDiscountAmount=discount_cents ExtendedAmount=extended_cents
EntryMethod=entry_mode CardNumberMasked=masked_pan ApproverID=manager_id ControlTypeCode=control_type Device=component
ExpectedAmount=expected_cents CountedAmount=counted_cents"""
NAMES = dict(pair.split("=") for pair in WORDS.split())
OF_KIND = {"RetailTransaction": {"SequenceNumber": "original_key"},
           "VoidTransaction": {"VoidedSequenceNumber": "voided_key", "Amount": "grand_cents"}}  # fmt: skip
CODES = {"transaction_type", "service_mode", "tender_type", "entry_mode", "control_type", "severity"}


def snake(text):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()


def fields(body, names):
    found = {}
    for theirs, value in body.items():
        ours = names.get(theirs, snake(theirs))
        if isinstance(value, dict):
            found |= fields(value, names)  # our records are flatter than theirs
        elif isinstance(value, list):
            found[ours] = [fields(one, NAMES | {"SequenceNumber": "line"}) for one in value]
        elif ours in CODES:
            found[ours] = re.sub("^(OPERATOR|TENDER)_", "", snake(value).upper()).replace("_DAY", "_OF_DAY")
        elif ours != "-":
            found[ours] = value
    return found


def canonical(raw, source):
    kind = raw["TransactionTypeCode"]
    data = {"original_key": ""} if kind == "RetailTransaction" else {}
    for name, value in fields(raw[kind], NAMES | OF_KIND.get(kind, {})).items():
        data[name] = f"{source}.{value}" if name in ("original_key", "voided_key") else value
    event = "terminal.alert" if kind == "WorkstationAlert" else f"transaction.{snake(kind.removesuffix('Transaction'))}"
    return {"key": f"{source}.{raw['SequenceNumber']}", "source": source, "sequence": raw["SequenceNumber"],
            "type": event, "time": raw["PostedDateTime"], "business_day_date": raw["BusinessDayDate"],
            "data": data}  # fmt: skip


def on_connect(client, waiting, *_):
    waiting.clear()  # their packet identifiers belong to the connection that is gone
    client.subscribe(f"$share/parm/{ROOT}/terminal/transaction/#", qos=1)


def on_message(client, waiting, message):
    place, source = message.topic.removeprefix(f"{ROOT}/terminal/transaction/"), message.topic.rpartition("/")[2]
    topic, properties = f"{ROOT}/canonical/transaction/{place}", message.properties
    try:
        sequence = int(dict(properties.UserProperty)["sequence"])
    except (ValueError, LookupError, AttributeError):
        client.ack(message.mid, message.qos)  # no terminal has sent this: there is nobody to answer
        return
    try:
        said = canonical(json.loads(message.payload), source)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        client.publish(f"{ROOT}/dead-letter/parm/schema/{source}", message.payload, qos=1, properties=properties)
        said = {"by": "parm", "rejected": [{"sequence": sequence, "stage": "parm", "reason": "schema"}]}
        topic, properties = f"{ROOT}/command/outcome/{place}", None
    waiting[client.publish(topic, json.dumps(said), qos=1, properties=properties).mid] = message


def on_publish(client, waiting, number, reason, _):
    message = waiting.pop(number, None)
    if message is not None and reason.value == 0:  # else nobody has it: its terminal asks, and sends it again
        client.ack(message.mid, message.qos)


def main():
    broker = urlsplit(os.environ["STOREFLEET_BROKER_URL"])
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, os.environ["STOREFLEET_CLIENT_ID"], userdata={},
                         protocol=mqtt.MQTTv5, manual_ack=True)  # fmt: skip
    client.on_connect, client.on_message, client.on_publish = on_connect, on_message, on_publish
    client.connect(broker.hostname, broker.port)
    client.loop_forever()


if __name__ == "__main__":
    main()
