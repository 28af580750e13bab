"""Objects that travel with their schemas: written once, read wherever they are restored.

    travel.py write BOOTSTRAP_SERVERS REGISTRY_URL PREFIX COUNT
    travel.py read  BOOTSTRAP_SERVERS REGISTRY_URL PREFIX

Writing fills a topic for each kind of schema and of framing, and some whose records have none. Reading prints every record of them as
the client's own deserialisers see it, one line each, in the order of the partition: what is equal before and after is equal to users.
"""

import importlib
import json
import os
import struct
import subprocess
import sys
import tempfile

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import (
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    header_schema_id_serializer,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

SECONDS = 60
KEY = '{"type":"record","name":"Key","namespace":"shop","fields":[{"name":"id","type":"long"}]}'
USER = """{"type":"record","name":"User","namespace":"shop","fields":[
  {"name":"name","type":"string"},{"name":"visits","type":"long","default":0}]}"""
NEWER = USER.replace("]}", ',{"name":"city","type":["null","string"],"default":null}]}')
VISIT = '{"type":"record","name":"Visit","namespace":"shop","fields":[{"name":"who","type":"shop.User"}]}'
ORDER = """{"$schema":"http://json-schema.org/draft-07/schema#","title":"Order","type":"object",
  "properties":{"item":{"type":"string"},"price":{"type":"number"}},"required":["item"]}"""
PROTO = {
    "travel_part.proto": 'syntax = "proto3"; package shop; message Part { int32 number = 1; }',
    "travel_message.proto": """syntax = "proto3"; package shop; import "travel_part.proto";
        message Other { string name = 1; }
        message Message { string text = 1; Part part = 2; message Inner { int64 n = 1; } }""",
}


def compiled():
    folder = tempfile.mkdtemp()
    for name, text in PROTO.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={folder}"]
    subprocess.check_call([*compiler, *PROTO])
    sys.path.insert(0, folder)
    return importlib.import_module("travel_message_pb2"), importlib.import_module("travel_part_pb2")


class Session:
    def __init__(self, bootstrap, url, prefix):
        self.bootstrap, self.prefix = bootstrap, prefix
        self.registry = SchemaRegistryClient({"url": url})
        self.message, self.part = compiled()
        self.protobuf = {"use.deprecated.format": False}

    def kinds(self):
        """Topics, each with what reads a value of it."""
        registry, config = self.registry, self.protobuf
        avro = AvroDeserializer(registry)
        return {
            "avro": avro,
            "json": JSONDeserializer(None, schema_registry_client=registry),
            "protobuf": ProtobufDeserializer(self.message.Message, config, registry),
            "inner": ProtobufDeserializer(self.message.Message.Inner, config, registry),
            "references": avro,
            "header": avro,
            "record": avro,
            "topicrecord": avro,
            "copy": avro,
            "text": None,
            "raw": None,
        }

    def values(self, count):
        """For each topic what is written: bytes and headers."""
        registry, config = self.registry, self.protobuf
        registry.register_schema("shop-user", Schema(USER, "AVRO"))
        visit = Schema(VISIT, "AVRO", [SchemaReference("shop.User", "shop-user", 1)])
        registry.register_schema(f"{self.prefix}-references-value", visit)
        latest = {"auto.register.schemas": False, "use.latest.version": True}
        by_record = {"subject.name.strategy": record_subject_name_strategy}
        by_topic_record = {"subject.name.strategy": topic_record_subject_name_strategy}
        in_header = {"schema.id.serializer": header_schema_id_serializer}
        old, new = AvroSerializer(registry, USER), AvroSerializer(registry, NEWER)
        key = AvroSerializer(registry, KEY)
        serializers = {
            "json": JSONSerializer(ORDER, registry),
            "protobuf": ProtobufSerializer(self.message.Message, registry, config),
            "inner": ProtobufSerializer(self.message.Message.Inner, registry, config),
            "references": AvroSerializer(registry, visit, conf=latest),
            "header": AvroSerializer(registry, USER, conf=in_header),
            "record": AvroSerializer(registry, USER, conf=by_record),
            "topicrecord": AvroSerializer(registry, USER, conf=by_topic_record),
        }
        raw = [b"", b"\0", b"\0\0\0\0\1", b"\0\0\0\0\1\2", b"\0\0\0\0", struct.pack(">q", 2**32 + 5), b"\x03\0" + bytes(18)]
        for n in range(count):
            user = {"name": f"Zoë {n}", "visits": n * 2**33}
            yield self.made("avro", user if n % 3 else {**user, "city": None}, old if n % 3 else new, key, n)
            yield self.made("json", {"item": "tea", "price": n / 4}, serializers["json"], None, n)
            part = self.part.Part(number=n)
            yield self.made("protobuf", self.message.Message(text="x", part=part), serializers["protobuf"], key, n)
            yield self.made("inner", self.message.Message.Inner(n=n), serializers["inner"], None, n)
            yield self.made("references", {"who": {"name": "Zoë", "visits": n}}, serializers["references"], None, n)
            for kind in ("header", "record", "topicrecord"):
                yield self.made(kind, {"name": f"Ada Lovelace {n}", "visits": n}, serializers[kind], None, n)
            # What somebody else's topic holds, copied byte for byte, as dead letters are.
            context = SerializationContext(f"{self.prefix}-avro", MessageField.VALUE, headers=[])
            yield "copy", None, old(user, context), []
            yield "text", b"key %d" % n, b"just text, number %d" % n, []
            yield "raw", struct.pack(">q", n), raw[n % len(raw)], [("trace", b"\0\0\0\0\1")]

    def made(self, kind, value, serializer, key, n):
        topic = f"{self.prefix}-{kind}"
        context = SerializationContext(topic, MessageField.VALUE, headers=[])
        data = serializer(value, context)
        name = key and key({"id": n % 7}, SerializationContext(topic, MessageField.KEY))
        return kind, name or b"key %d" % (n % 7), data, context.headers

    def write(self, count):
        failures = []
        report = lambda error, _: error and failures.append(error)
        producers = [
            Producer({"bootstrap.servers": self.bootstrap, "compression.type": codec, "linger.ms": 50})
            for codec in ("none", "zstd", "lz4")
        ]
        for n, (kind, key, data, headers) in enumerate(self.values(int(count))):
            producer = producers[n % len(producers)]
            producer.produce(f"{self.prefix}-{kind}", data, key, headers=headers, on_delivery=report)
            producer.poll(0)
        for producer in producers:
            assert producer.flush(SECONDS) == 0
        assert not failures, failures

    def read(self):
        for kind, value in self.kinds().items():
            topic = f"{self.prefix}-{kind}"
            key = AvroDeserializer(self.registry) if kind in ("avro", "protobuf") else None
            for message in self.all_of(topic):
                headers = message.headers() or []
                fields = {MessageField.KEY: (key, message.key()), MessageField.VALUE: (value, message.value())}
                shown = [
                    read(data, SerializationContext(topic, field, headers=headers)) if read else data
                    for field, (read, data) in fields.items()
                ]
                own = [(name, data) for name, data in headers if not name.startswith("__")]
                print(json.dumps([kind, message.partition(), *map(text, shown), repr(own)], ensure_ascii=False))

    def all_of(self, topic):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "travel", "enable.auto.commit": False})
        for partition in sorted(consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions):
            place = TopicPartition(topic, partition)
            first, end = consumer.get_watermark_offsets(place, timeout=SECONDS)
            consumer.assign([TopicPartition(topic, partition, first)])
            while first < end:
                message = consumer.poll(SECONDS)
                assert message is not None and message.error() is None, (topic, first, end, message and message.error())
                first = message.offset() + 1
                yield message
        consumer.close()


def text(value):
    return value if isinstance(value, (dict, type(None))) else repr(value) if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    what, bootstrap, url, prefix, *count = sys.argv[1:]
    getattr(Session(bootstrap, url, prefix), what)(*count)
