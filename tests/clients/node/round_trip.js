// Round trips of Node's two registry clients through a registry and a broker.
//
//     node round_trip.js CASE BOOTSTRAP_SERVERS REGISTRY_URL
//
// `confluent*` are @confluentinc/schemaregistry, `kafkajs*` are @kafkajs/confluent-schema-registry; kafkajs carries the bytes.
// What one client writes another one reads, which has seen nothing of the first. A case that fails ends the program with 1.
'use strict';

const assert = require('node:assert/strict');
const { Kafka, logLevel } = require('kafkajs');
const confluent = require('@confluentinc/schemaregistry');
const { SchemaRegistry, SchemaType } = require('@kafkajs/confluent-schema-registry');

const [, , name, bootstrap, url] = process.argv;
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });

const USER = JSON.stringify({
  type: 'record', name: 'User', namespace: 'shop', doc: 'somebody',
  fields: [{ name: 'name', type: 'string' }, { name: 'visits', type: 'int', default: 0 }],
});
const ORDER = JSON.stringify({
  $schema: 'http://json-schema.org/draft-07/schema#', title: 'Order', type: 'object',
  properties: { item: { type: 'string' }, price: { type: 'number' } }, required: ['item'],
});

/** Writes bytes and headers, and reads them back from the broker. */
async function throughKafka(topic, value, headers = {}) {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ value, headers }] });
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: `node-${topic}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const message = await new Promise((resolve, reject) => {
    consumer.run({ eachMessage: async ({ message }) => resolve(message) }).catch(reject);
  });
  await consumer.disconnect();
  return message;
}

const registry = () => new confluent.SchemaRegistryClient({ baseURLs: [url] });
const VALUE = confluent.SerdeType.VALUE;

const cases = {
  async confluentAvro() {
    const user = { name: 'Zoë', visits: 7 };
    await registry().register('node-avro-value', { schemaType: 'AVRO', schema: USER });
    const serializer = new confluent.AvroSerializer(registry(), VALUE, { useLatestVersion: true });
    const { value } = await throughKafka('node-avro', await serializer.serialize('node-avro', user));
    const reader = new confluent.AvroDeserializer(registry(), VALUE, {});
    assert.deepEqual({ ...(await reader.deserialize('node-avro', value)) }, user);
    const latest = await registry().getLatestSchemaMetadata('node-avro-value');
    assert.equal(value.readInt32BE(1), latest.id);
    assert.equal(await registry().getId('node-avro-value', { schemaType: 'AVRO', schema: USER }), latest.id);
    const wrong = { schemaType: 'AVRO', schema: USER.replace('"string"', '"int"') };
    assert.equal(await registry().testSubjectCompatibility('node-avro-value', wrong), false);
    const refused = await registry().register('node-avro-value', wrong).then(() => null, (error) => error);
    assert.equal(refused.status, 409);
  },

  async confluentJson() {
    const order = { item: 'tea', price: 2.5 };
    const schema = { schemaType: 'JSON', schema: ORDER };
    await registry().register('node-json-value', schema);
    const serializer = new confluent.JsonSerializer(registry(), VALUE, { useLatestVersion: true });
    const { value } = await throughKafka('node-json', await serializer.serialize('node-json', order));
    const reader = new confluent.JsonDeserializer(registry(), VALUE, {});
    assert.deepEqual(await reader.deserialize('node-json', value), order);
  },

  async confluentProtobuf() {
    const { create, createMutableRegistry, toBinary } = require('@bufbuild/protobuf');
    const { fileDesc } = require('@bufbuild/protobuf/codegenv2');
    const { FileDescriptorProtoSchema } = require('@bufbuild/protobuf/wkt');
    const described = (file, imports) => {
      const bytes = toBinary(FileDescriptorProtoSchema, create(FileDescriptorProtoSchema, file));
      return fileDesc(Buffer.from(bytes).toString('base64'), imports);
    };
    const field = (name, number, type, more) => ({ name, number, type, label: 1, jsonName: name, ...more });
    const part = described({
      name: 'node_part.proto', package: 'shop', syntax: 'proto3',
      messageType: [{ name: 'Part', field: [field('number', 1, 5)] }],
    });
    const whole = described({
      name: 'node_message.proto', package: 'shop', syntax: 'proto3', dependency: ['node_part.proto'],
      messageType: [{ name: 'Message', field: [field('text', 1, 9), field('part', 2, 11, { typeName: '.shop.Part' })] }],
    }, [part]);
    const [Message, Part] = [whole.messages[0], part.messages[0]];
    const value = create(Message, { text: 'x', part: create(Part, { number: 5 }) });
    const config = { autoRegisterSchemas: true, registry: createMutableRegistry(Message, Part) };
    const serializer = new confluent.ProtobufSerializer(registry(), VALUE, config);
    const bytes = await serializer.serialize('node-protobuf', value);
    const message = await throughKafka('node-protobuf', bytes);
    const reader = new confluent.ProtobufDeserializer(registry(), VALUE, {});
    const found = await reader.deserialize('node-protobuf', message.value);
    assert.equal(found.text, 'x');
    assert.equal(found.part.number, 5);
    const latest = await registry().getLatestSchemaMetadata('node-protobuf-value');
    assert.deepEqual(latest.references, [{ name: 'node_part.proto', subject: 'node_part.proto', version: 1 }]);
    // A second process with the same classes gives the same id.
    const again = new confluent.ProtobufSerializer(registry(), VALUE, { ...config, registry: createMutableRegistry(Message, Part) });
    assert.deepEqual((await again.serialize('node-protobuf', value)).subarray(0, 5), bytes.subarray(0, 5));
  },

  async confluentReferences() {
    await registry().register('node-user', { schemaType: 'AVRO', schema: USER });
    const visit = JSON.stringify({ type: 'record', name: 'Visit', namespace: 'shop', fields: [{ name: 'who', type: 'shop.User' }] });
    const references = [{ name: 'shop.User', subject: 'node-user', version: 1 }];
    await registry().register('node-references-value', { schemaType: 'AVRO', schema: visit, references });
    const serializer = new confluent.AvroSerializer(registry(), VALUE, { useLatestVersion: true });
    const bytes = await serializer.serialize('node-references', { who: { name: 'Zoë', visits: 1 } });
    const { value } = await throughKafka('node-references', bytes);
    const reader = new confluent.AvroDeserializer(registry(), VALUE, {});
    assert.equal((await reader.deserialize('node-references', value)).who.name, 'Zoë');
  },

  async confluentHeaderGuid() {
    await registry().register('node-header-value', { schemaType: 'AVRO', schema: USER });
    const config = { useLatestVersion: true, schemaIdSerializer: confluent.HeaderSchemaIdSerializer };
    const serializer = new confluent.AvroSerializer(registry(), VALUE, config);
    const sent = {};
    const bytes = await serializer.serialize('node-header', { name: 'Ada', visits: 1 }, sent);
    const { value, headers } = await throughKafka('node-header', bytes, sent);
    assert.equal(headers.__value_schema_id.length, 17);
    const reader = new confluent.AvroDeserializer(registry(), VALUE, {});
    assert.equal((await reader.deserialize('node-header', value, headers)).name, 'Ada');
  },

  async kafkajsAvro() {
    const other = () => new SchemaRegistry({ host: url });
    const { id } = await other().register({ type: SchemaType.AVRO, schema: USER }, { subject: 'kafkajs-avro-value' });
    const { value } = await throughKafka('kafkajs-avro', await other().encode(id, { name: 'Zoë', visits: 7 }));
    assert.deepEqual({ ...(await other().decode(value)) }, { name: 'Zoë', visits: 7 });
    assert.equal(await other().getLatestSchemaId('kafkajs-avro-value'), id);
    assert.equal(await other().getRegistryIdBySchema('kafkajs-avro-value', { type: SchemaType.AVRO, schema: USER }), id);
    const wrong = { type: SchemaType.AVRO, schema: USER.replace('"string"', '"int"') };
    await assert.rejects(other().register(wrong, { subject: 'kafkajs-avro-value' }), /incompatible/);
  },

  async kafkajsJson() {
    const other = () => new SchemaRegistry({ host: url });
    const { id } = await other().register({ type: SchemaType.JSON, schema: ORDER }, { subject: 'kafkajs-json-value' });
    const { value } = await throughKafka('kafkajs-json', await other().encode(id, { item: 'tea', price: 2.5 }));
    assert.deepEqual(await other().decode(value), { item: 'tea', price: 2.5 });
  },

  async kafkajsProtobuf() {
    const other = () => new SchemaRegistry({ host: url });
    const part = 'syntax = "proto3"; package shop.js; message Piece { int32 number = 1; }';
    const whole = 'syntax = "proto3"; package shop.js; import "piece.proto"; message Whole { string text = 1; Piece piece = 2; }';
    await other().register({ type: SchemaType.PROTOBUF, schema: part }, { subject: 'kafkajs-piece' });
    const references = [{ name: 'piece.proto', subject: 'kafkajs-piece', version: 1 }];
    const { id } = await other().register({ type: SchemaType.PROTOBUF, schema: whole, references }, { subject: 'kafkajs-protobuf-value' });
    const { value } = await throughKafka('kafkajs-protobuf', await other().encode(id, { text: 'x', piece: { number: 5 } }));
    const found = await other().decode(value);
    assert.equal(found.text, 'x');
    assert.equal(found.piece.number, 5);
  },
};

cases[name]().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
