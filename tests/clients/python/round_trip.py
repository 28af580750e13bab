"""Round trips of confluent-kafka-python through a registry and a broker.

    round_trip.py CASE BOOTSTRAP_SERVERS REGISTRY_URL

What one client writes another one reads, which has seen nothing of the first: it asks the registry for every id. A case that
fails ends the program with a traceback.
"""

import importlib
import os
import subprocess
import sys
import tempfile

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import (
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

SECONDS = 60
USER = """{"type":"record","name":"User","namespace":"shop","doc":"somebody","fields":[
  {"name":"name","type":"string"},{"name":"visits","type":"long","default":0}]}"""
ORDER = """{"$schema":"http://json-schema.org/draft-07/schema#","title":"Order","type":"object",
  "properties":{"item":{"type":"string"},"price":{"type":"number","minimum":1e-2}},"required":["item"]}"""


class Session:
    def __init__(self, bootstrap, url):
        self.bootstrap, self.url = bootstrap, url

    def registry(self):
        return SchemaRegistryClient({"url": self.url})

    def through_kafka(self, topic, value, serializer, deserializer):
        """Writes a value, reads it back, and answers it with its bytes and its headers."""
        context = SerializationContext(topic, MessageField.VALUE, headers=[])
        data = serializer(value, context)
        failures = []
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(topic, data, headers=context.headers, on_delivery=lambda error, _: error and failures.append(error))
        assert producer.flush(SECONDS) == 0 and not failures, failures
        return self.first(topic, f"python-{topic}", deserializer)

    def first(self, topic, group, deserializer):
        """The first value of a topic, with its bytes and its headers."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        message = consumer.poll(SECONDS)
        assert message is not None and message.error() is None, message and message.error()
        consumer.close()
        context = SerializationContext(topic, MessageField.VALUE, headers=message.headers() or [])
        return deserializer(message.value(), context), message.value(), message.headers() or []

    def consumed(self, topic, deserializer):
        """The first value of a topic, for a client that was not here before."""
        return self.first(topic, f"again-{topic}", deserializer)[0]


def avro(session):
    user = {"name": "Zoë", "visits": 2**40}
    found, data, _ = session.through_kafka(
        "python-avro", user, AvroSerializer(session.registry(), USER), AvroDeserializer(session.registry())
    )
    assert found == user, found
    registry = session.registry()
    version = registry.get_latest_version("python-avro-value")
    assert data[:1] == b"\0" and int.from_bytes(data[1:5], "big") == version.schema_id, data
    # The text of the source, which the registry prints anew, is found again.
    assert registry.lookup_schema("python-avro-value", Schema(USER, "AVRO")).schema_id == version.schema_id
    # A reader whose schema has one field more, and a writer who may not take one away.
    newer = USER.replace("]}", ',{"name":"city","type":["null","string"],"default":null}]}')
    read = AvroDeserializer(session.registry(), newer)(data, SerializationContext("python-avro", MessageField.VALUE))
    assert read == {**user, "city": None}, read
    assert registry.test_compatibility("python-avro-value", Schema(newer, "AVRO"))
    wrong = Schema('{"type":"record","name":"User","namespace":"shop","fields":[{"name":"name","type":"int"}]}', "AVRO")
    assert not registry.test_compatibility("python-avro-value", wrong)
    refused = refusal(lambda: registry.register_schema("python-avro-value", wrong))
    assert (refused.http_status_code, refused.error_code) == (409, 409), refused
    assert registry.register_schema("python-avro-value", Schema(newer, "AVRO")) != version.schema_id


def json(session):
    order = {"item": "tea", "price": 2.5}
    found, _, _ = session.through_kafka(
        "python-json",
        order,
        JSONSerializer(ORDER, session.registry()),
        JSONDeserializer(None, schema_registry_client=session.registry()),
    )
    assert found == order, found


def protobuf(session):
    message, part = compiled()
    config = {"use.deprecated.format": False}
    value = message.Message(text="x", part=part.Part(number=5), counts={"k": 1}, maybe=0)
    value.at.GetCurrentTime()
    found, data, _ = session.through_kafka(
        "python-protobuf",
        value,
        ProtobufSerializer(message.Message, session.registry(), config),
        ProtobufDeserializer(message.Message, config, session.registry()),
    )
    assert found == value, found
    registry = session.registry()
    version = registry.get_latest_version("python-protobuf-value")
    assert int.from_bytes(data[1:5], "big") == version.schema_id
    # What it imports was registered by itself, and is referred to; the types of Google are known without that.
    references = [(reference.name, reference.subject, reference.version) for reference in version.schema.references]
    assert references == [("python_part.proto", "python_part.proto", 1)], references
    assert registry.get_referenced_by("python_part.proto", 1) == [version.schema_id]
    # A second process with the same classes gives the same id.
    again = ProtobufSerializer(message.Message, session.registry(), config)
    bytes_again = again(value, SerializationContext("python-protobuf", MessageField.VALUE))
    assert bytes_again[1:5] == data[1:5], bytes_again


def references(session):
    registry = session.registry()
    registry.register_schema("python-user", Schema(USER, "AVRO"))
    visit = '{"type":"record","name":"Visit","namespace":"shop","fields":[{"name":"who","type":"shop.User"}]}'
    schema = Schema(visit, "AVRO", [SchemaReference("shop.User", "python-user", -1)])
    registered = registry.register_schema("python-references-value", schema)
    value = {"who": {"name": "Zoë", "visits": 1}}
    config = {"auto.register.schemas": False, "use.latest.version": True}
    found, data, _ = session.through_kafka(
        "python-references",
        value,
        AvroSerializer(session.registry(), schema, conf=config),
        AvroDeserializer(session.registry()),
    )
    assert found == value, found
    assert int.from_bytes(data[1:5], "big") == registered
    assert registry.get_version("python-references-value", 1).schema.references[0].version == 1
    refused = refusal(lambda: registry.delete_version("python-user", 1))
    assert refused.error_code == 42206, refused


def header_guid(session):
    # Longer than a prefix: this client refuses shorter payloads without looking at the header.
    user = {"name": "Ada Lovelace", "visits": 1}
    config = {"schema.id.serializer": header_schema_id_serializer}
    found, data, headers = session.through_kafka(
        "python-header",
        user,
        AvroSerializer(session.registry(), USER, conf=config),
        AvroDeserializer(session.registry()),
    )
    assert found == user, found
    assert data[:1] != b"\0", "the payload has no prefix where the GUID is in a header"
    (name, value), = headers
    guid = session.registry().get_latest_version("python-header-value").guid
    assert name == "__value_schema_id" and value == b"\1" + bytes.fromhex(guid.replace("-", "")), headers


def administration(session):
    registry = session.registry()
    name = "python-administration"
    schema = registry.register_schema(name, Schema('"string"', "AVRO"))
    assert registry.get_schema(schema).schema_str == '"string"'
    assert name in registry.get_subjects() and registry.get_versions(name) == [1]
    assert name in registry.get_subjects_by_schema_id(schema)
    assert (name, 1) in {(found.subject, found.version) for found in registry.get_schema_versions(schema)}
    assert sorted(registry.get_schema_types()) == ["AVRO", "JSON", "PROTOBUF"]
    assert registry.set_compatibility(name, "FULL")["compatibility"] == "FULL"
    assert registry.get_compatibility(name) == "FULL"
    registry.delete_config(name)
    assert refusal(lambda: registry.get_config(name)).error_code == 40408
    registry.update_mode(name, "READONLY")
    assert registry.get_mode(name) == "READONLY"
    assert refusal(lambda: registry.register_schema(name, Schema('"int"', "AVRO"))).error_code == 42205
    registry.delete_mode(name)
    assert registry.get_contexts()[0] == "."
    assert refusal(lambda: registry.get_latest_version("python-nobody")).error_code == 40401
    assert refusal(lambda: registry.register_schema(name, Schema('{"type":"nope"}', "AVRO"))).error_code == 42201
    assert registry.delete_subject(name) == [1] and registry.delete_subject(name, permanent=True) == [1]
    assert name not in registry.get_subjects()


def from_backup(session):
    """What the other cases have written, by clients that know only a registry that is served from a backup."""
    registry = session.registry()
    user = {"name": "Zoë", "visits": 2**40}
    assert session.consumed("python-avro", AvroDeserializer(registry)) == user
    assert session.consumed("python-json", JSONDeserializer(None, schema_registry_client=registry)) == {"item": "tea", "price": 2.5}
    message, _ = compiled()
    found = session.consumed("python-protobuf", ProtobufDeserializer(message.Message, {"use.deprecated.format": False}, registry))
    assert found.text == "x" and found.part.number == 5 and found.counts == {"k": 1}, found
    visit = {"who": {"name": "Zoë", "visits": 1}}
    assert session.consumed("python-references", AvroDeserializer(registry)) == visit
    assert session.consumed("python-header", AvroDeserializer(registry))["name"] == "Ada Lovelace"
    # A producer goes on where its schemas are known, and no other schema is taken.
    known = session.registry().lookup_schema("python-avro-value", Schema(USER, "AVRO"))
    assert registry.register_schema("python-avro-value", Schema(USER, "AVRO")) == known.schema_id == 1, known
    AvroSerializer(registry, USER)(user, SerializationContext("python-avro", MessageField.VALUE))
    refused = refusal(lambda: registry.register_schema("python-avro-value", Schema('"string"', "AVRO")))
    assert (refused.http_status_code, refused.error_code) == (422, 42205), refused


def refusal(call):
    try:
        answer = call()
    except SchemaRegistryError as error:
        return error
    raise AssertionError(f"a refusal was expected, and not {answer!r}")


def compiled():
    """Classes of two Protobuf files, of which one imports the other."""
    folder = tempfile.mkdtemp()
    files = {
        "python_part.proto": 'syntax = "proto3"; package shop; message Part { int32 number = 1; }',
        "python_message.proto": """syntax = "proto3"; package shop;
            import "python_part.proto"; import "google/protobuf/timestamp.proto";
            // What is sent.
            message Message { string text = 1; Part part = 2; map<string, int32> counts = 3;
              google.protobuf.Timestamp at = 4; optional int32 maybe = 5; oneof one { string a = 6; bytes b = 7; } }""",
    }
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={folder}"]
    subprocess.check_call([*compiler, *files])
    sys.path.insert(0, folder)
    return importlib.import_module("python_message_pb2"), importlib.import_module("python_part_pb2")


CASES = {case.__name__: case for case in (avro, json, protobuf, references, header_guid, administration, from_backup)}

if __name__ == "__main__":
    CASES[sys.argv[1]](Session(*sys.argv[2:]))
