import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaNormalization;

/**
 * What Apache Avro itself says about pairs of schemas: the judge of registry/tests/avro_differential.rs, which runs it.
 *
 * <p>Reads lines {"reader":TEXT,"writer":TEXT,"dependencies":[TEXT]} from a file, writes one line of answers for each to
 * another: whether each text is a schema (with and without a look at its defaults), what it is printed as, and whether the
 * reader can read what the writer writes.
 */
public final class AvroJudge {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] files) throws Exception {
    try (BufferedReader in = Files.newBufferedReader(Path.of(files[0]));
        BufferedWriter out = Files.newBufferedWriter(Path.of(files[1]))) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        out.write(JSON.writeValueAsString(answer(JSON.readTree(line))));
        out.write('\n');
      }
    }
  }

  private static ObjectNode answer(JsonNode question) {
    ObjectNode answer = JSON.createObjectNode();
    Schema reader = describe(question, "reader", answer);
    Schema writer = describe(question, "writer", answer);
    if (reader == null || writer == null) {
      return answer;
    }
    try {
      SchemaCompatibility.SchemaCompatibilityResult result =
          SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult();
      answer.put(
          "compatible",
          result.getCompatibility() == SchemaCompatibility.SchemaCompatibilityType.COMPATIBLE);
      ArrayNode list = answer.putArray("incompatibilities");
      for (SchemaCompatibility.Incompatibility found : result.getIncompatibilities()) {
        ObjectNode entry = list.addObject();
        entry.put("type", found.getType().name());
        entry.put("location", found.getLocation());
        entry.put("message", found.getMessage());
      }
    } catch (RuntimeException e) {
      answer.put("exception", String.valueOf(e.getMessage()));
    }
    return answer;
  }

  private static Schema describe(JsonNode question, String which, ObjectNode answer) {
    ObjectNode entry = answer.putObject(which);
    entry.put("valid", parse(question, which, true, null) != null);
    List<Schema> references = new ArrayList<>();
    Schema schema = parse(question, which, false, references);
    entry.put("readable", schema != null);
    if (schema != null) {
      entry.put("canonical", schema.toString(references, false));
      entry.put("resolved", schema.toString());
      entry.put("parsing", SchemaNormalization.toParsingForm(schema));
    }
    return schema;
  }

  private static Schema parse(JsonNode question, String which, boolean defaults, List<Schema> references) {
    Schema.Parser parser = new Schema.Parser();
    parser.setValidateDefaults(defaults);
    try {
      for (JsonNode text : question.get("dependencies")) {
        Schema reference = parser.parse(text.textValue());
        if (references != null) {
          references.add(reference);
        }
      }
      return parser.parse(question.get(which).textValue());
    } catch (RuntimeException e) {
      return null;
    }
  }
}
