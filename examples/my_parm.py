"""Your own transformer in PARM's place, on paho-mqtt alone: `storefleet up --stage 'parm=python examples/my_parm.py'`.

It turns raw events of the "pizza" dialect into canonical ones and acknowledges each once the broker has accepted what
became of it: the canonical event, or, for what it cannot read, a dead letter and the rejection that tells the terminal.
"""

import json
import os
import time
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

ROOT = os.environ["STOREFLEET_TOPIC_ROOT"]
LINE = "line item_id gtin description quantity unit_price_cents discount_cents extended_cents tax_cents"
TENDERS, ENTRIES = ("CASH", "CREDIT_DEBIT", "GIFT_CARD", "WALLET"), ("NONE", "CHIP", "CONTACTLESS", "SWIPE", "KEYED")
CONTROLS = ("SIGN_ON", "SIGN_OFF", "NO_SALE", "START_OF_DAY", "END_OF_DAY")
MOVEMENTS = ("LOAN", "PICKUP", "PAID_IN", "PAID_OUT", "SAFE_DROP", "TILL_SETTLE")
DEVICES, LEVELS = ("PRINTER", "CASH_DRAWER", "CARD_READER", "BATTERY", "NETWORK"), ("INFO", "WARNING", "CRITICAL")
TYPES = ("retail", "void", "control", "tender_control")


def row(names, values, **words):
    found = dict(zip(names.split(), values, strict=True))
    return found | {name: word[found[name]] for name, word in words.items()}


def utc(milliseconds):
    return (datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds") + "Z"


def retail(b, source):
    head = row("transaction_type service_mode", (b["y"], b["m"]), transaction_type=("SALE", "RETURN"),
               service_mode=("COUNTER", "DRIVE_THROUGH", "KIOSK"))  # fmt: skip
    tender = "tender_type amount_cents entry_mode masked_pan authorization_code"
    return head | row("receipt_number operator_id till_id", (b["r"], b["o"], b["t"])) | {
        "begin_time": utc(b["w"][0]), "end_time": utc(b["w"][1]), "training_mode": bool(b["x"]),
        "line_items": [row(LINE, line) for line in b["l"]],
        "tenders": [row(tender, one, tender_type=TENDERS, entry_mode=ENTRIES) for one in b["p"]],
        "original_key": f"{source}.{b['f']}" if b["f"] else "",
    } | row("net_cents tax_cents grand_cents", b["a"])  # fmt: skip


def data_of(kind, b, source):
    match kind:
        case 1:
            return retail(b, source)
        case 2:
            void = row("voided_key operator_id manager_id reason_code grand_cents", b)
            return void | {"voided_key": f"{source}.{void['voided_key']}"}
        case 3:
            return row("control_type operator_id till_id reason_code", b, control_type=CONTROLS)
        case 4:
            names = "control_type operator_id till_id tender_type amount_cents expected_cents counted_cents"
            return row(names, [*b[:4], *b[4]], control_type=MOVEMENTS, tender_type=TENDERS)
        case 5:
            return row("component from_state to_state severity", b, component=DEVICES, severity=LEVELS)
    raise ValueError(f"kind {kind!r}")


def canonical(raw, source):
    day, kind = str(raw["d"]), raw["k"]
    return {
        "key": f"{source}.{raw['n']}", "source": source, "sequence": raw["n"], "time": utc(raw["w"]),
        "type": "terminal.alert" if kind == 5 else f"transaction.{TYPES[kind - 1]}",
        "business_day_date": f"{day[:4]}-{day[4:6]}-{day[6:]}", "data": data_of(kind, raw["b"], source),
    }  # fmt: skip


def on_message(client, waiting, message):
    place, source = message.topic.removeprefix(f"{ROOT}/terminal/transaction/"), message.topic.rpartition("/")[2]
    try:
        event = json.dumps(canonical(json.loads(message.payload), source))
        send(client, waiting, message, f"{ROOT}/canonical/transaction/{place}", event, message.properties)
    except (ValueError, LookupError, TypeError) as error:
        reason = "malformed_json" if isinstance(error, json.JSONDecodeError) else "schema"
        client.publish(f"{ROOT}/dead-letter/parm/{reason}/{source}", message.payload, qos=1)
        sequence = int(dict(message.properties.UserProperty)["sequence"])
        told = {"by": "parm", "rejected": [{"sequence": sequence, "stage": "parm", "reason": reason}]}
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
