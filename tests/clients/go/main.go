// Round trips of franz-go's registry client through a registry and a broker.
//
//	clients CASE BOOTSTRAP_SERVERS REGISTRY_URL
//
// What one client writes another one reads, which has seen nothing of the first. A case that fails ends the program with 1.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

const user = `{"type":"record","name":"User","namespace":"shop","doc":"somebody","fields":[
  {"name":"name","type":"string"},{"name":"visits","type":"long","default":0}]}`

type User struct {
	Name   string `avro:"name" json:"name"`
	Visits int64  `avro:"visits" json:"visits"`
}

type session struct {
	context        context.Context
	bootstrap, url string
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func require(holds bool, what string, found any) {
	if !holds {
		panic(fmt.Sprintf("%s: found %v", what, found))
	}
}

func (s session) registry() *sr.Client {
	client, err := sr.NewClient(sr.URLs(s.url))
	check(err)
	return client
}

// throughKafka writes bytes and reads them back from the broker.
func (s session) throughKafka(topic string, value []byte) []byte {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap), kgo.ConsumeTopics(topic))
	check(err)
	defer client.Close()
	check(client.ProduceSync(s.context, &kgo.Record{Topic: topic, Value: value}).FirstErr())
	fetches := client.PollFetches(s.context)
	check(fetches.Err())
	return fetches.Records()[0].Value
}

// refusal is the number of the error that a call ends in; 0 where it does not.
func refusal(err error) int {
	if found, is := err.(*sr.ResponseError); is {
		return found.ErrorCode
	}
	return 0
}

func avroCase(s session) {
	registered, err := s.registry().CreateSchema(s.context, "go-avro-value", sr.Schema{Schema: user})
	check(err)
	parsed := avro.MustParse(user)
	var writer sr.Serde
	writer.Register(registered.ID, User{}, sr.EncodeFn(func(v any) ([]byte, error) { return avro.Marshal(parsed, v) }))
	value := s.throughKafka("go-avro", writer.MustEncode(User{"Zoë", 1 << 40}))

	// The reader knows nothing but the bytes: it asks for the schema of their id.
	id, rest, err := writer.DecodeID(value)
	check(err)
	require(id == registered.ID, "the id of the payload", id)
	schema, err := s.registry().SchemaByID(s.context, id)
	check(err)
	var found User
	check(avro.Unmarshal(avro.MustParse(schema.Schema), rest, &found))
	require(found == User{"Zoë", 1 << 40}, "the value", found)

	known, err := s.registry().LookupSchema(s.context, "go-avro-value", sr.Schema{Schema: user})
	check(err)
	require(known.ID == registered.ID && known.Version == 1, "the schema that is looked up", known)
	wrong := sr.Schema{Schema: `{"type":"record","name":"User","namespace":"shop","fields":[{"name":"name","type":"int"}]}`}
	verdict, err := s.registry().CheckCompatibility(sr.WithParams(s.context, sr.Verbose), "go-avro-value", -1, wrong)
	check(err)
	require(!verdict.Is && len(verdict.Messages) > 0, "an incompatible schema", verdict)
	_, err = s.registry().CreateSchema(s.context, "go-avro-value", wrong)
	require(refusal(err) == 409, "the refusal of an incompatible schema", err)
	guid, err := s.registry().SchemaByGUID(s.context, registered.GUID)
	check(err)
	require(guid.Schema.Schema == schema.Schema, "the schema by its GUID", guid)
}

func jsonCase(s session) {
	text := `{"type":"object","properties":{"name":{"type":"string"},"visits":{"type":"integer"}}}`
	registered, err := s.registry().CreateSchema(s.context, "go-json-value", sr.Schema{Schema: text, Type: sr.TypeJSON})
	check(err)
	serde := sr.NewSerde(sr.EncodeFn(json.Marshal), sr.DecodeFn(json.Unmarshal))
	serde.Register(registered.ID, User{})
	var found User
	check(serde.Decode(s.throughKafka("go-json", serde.MustEncode(User{"Zoë", 1})), &found))
	require(found == User{"Zoë", 1}, "the value", found)
}

func protobufCase(s session) {
	part := sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; package shop.go; message Part { int32 number = 1; }`}
	_, err := s.registry().CreateSchema(s.context, "go-part", part)
	check(err)
	whole := sr.Schema{
		Type:       sr.TypeProtobuf,
		Schema:     `syntax = "proto3"; package shop.go; import "part.proto"; message Whole { string text = 1; Part part = 2; }`,
		References: []sr.SchemaReference{{Name: "part.proto", Subject: "go-part", Version: 1}},
	}
	registered, err := s.registry().CreateSchema(s.context, "go-protobuf-value", whole)
	check(err)
	// The bytes of Whole{text: "x", part: {number: 5}}, framed with the message's index.
	message := []byte{0x0a, 1, 'x', 0x12, 2, 8, 5}
	var serde sr.Serde
	serde.Register(registered.ID, message, sr.EncodeFn(func(v any) ([]byte, error) { return v.([]byte), nil }), sr.Index(0))
	value := s.throughKafka("go-protobuf", serde.MustEncode(message))
	id, rest, err := serde.DecodeID(value)
	check(err)
	index, rest, err := serde.DecodeIndex(rest, 3)
	check(err)
	require(id == registered.ID && slices.Equal(index, []int{0}) && slices.Equal(rest, message), "the message", value)
	users, err := s.registry().SchemaReferences(s.context, "go-part", 1)
	check(err)
	require(len(users) == 1 && users[0].Subject == "go-protobuf-value", "what refers to the part", users)
}

func administration(s session) {
	registry, name := s.registry(), "go-administration"
	_, err := registry.CreateSchema(s.context, name, sr.Schema{Schema: `"string"`})
	check(err)
	types, err := registry.SupportedTypes(s.context)
	check(err)
	require(len(types) == 3, "the types", types)
	subjects, err := registry.Subjects(s.context)
	check(err)
	require(slices.Contains(subjects, name), "the subjects", subjects)
	set := registry.SetCompatibility(s.context, sr.SetCompatibility{Level: sr.CompatFull}, name)[0]
	check(set.Err)
	require(registry.Compatibility(s.context, name)[0].Level == sr.CompatFull, "the level", set)
	check(registry.ResetCompatibility(s.context, name)[0].Err)
	check(registry.SetMode(s.context, sr.ModeReadOnly, name)[0].Err)
	_, err = registry.CreateSchema(s.context, name, sr.Schema{Schema: `"int"`})
	require(refusal(err) == 42205, "a read-only subject", err)
	check(registry.ResetMode(s.context, name)[0].Err)
	// The same registry in the registry.
	inner := sr.InContext(s.context, ".go-context")
	created, err := registry.CreateSchema(inner, name, sr.Schema{Schema: `"bytes"`})
	check(err)
	require(created.ID == 1, "the first id of a context", created)
	contexts, err := registry.Contexts(s.context)
	check(err)
	require(slices.Contains(contexts, ".go-context"), "the contexts", contexts)
	_, err = registry.SchemaByVersion(s.context, "go-nobody", -1)
	require(refusal(err) == 40401, "a subject that is not there", err)
	versions, err := registry.DeleteSubject(s.context, name, sr.SoftDelete)
	check(err)
	require(slices.Equal(versions, []int{1}), "the deleted versions", versions)
	_, err = registry.DeleteSubject(s.context, name, sr.HardDelete)
	check(err)
}

func main() {
	cases := map[string]func(session){
		"avro": avroCase, "json": jsonCase, "protobuf": protobufCase, "administration": administration,
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cases[os.Args[1]](session{limit, os.Args[2], os.Args[3]})
}
