// Fills a Kafka cluster with the data of a small shop, for deploy/demo.sh.
//
//   java -cp 'KAFKA/libs/*' Load.java BOOTSTRAP LIVE_SECONDS COUNTS_FILE
//
// First three days of history, as fast as it goes ("history written" on stdout when it is done), then LIVE_SECONDS of live
// traffic. At the end COUNTS_FILE says for each topic how many records readers of committed data see (keys, in a compacted
// topic), and how many belong to aborted transactions. Not a benchmark, and not random: the same records each time, apart from the time of day.

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Load {
    private static final long DAY_MS = 86_400_000L;
    private static final long HISTORY_MS = 3 * DAY_MS;
    private static final String[] STATES = {"created", "paid", "packed", "shipped", "delivered"};
    private static final String[] PAGES = {"/", "/search", "/cart", "/checkout", "/product/17", "/product/4711"};
    private static final String[] CITIES = {"Bremen", "Malmö", "Kraków", "Łódź", "東京", "São Paulo"};

    /** One kind of traffic: a topic, its producer, and what a record of it looks like. */
    private abstract static class Traffic {
        final String topic;
        final int history;
        final int perSecond;
        final KafkaProducer<byte[], byte[]> producer;
        final Random random;
        long committed;
        long aborted;

        Traffic(String bootstrap, String topic, String codec, int history, int perSecond, Map<String, String> more) {
            this.topic = topic;
            this.history = history;
            this.perSecond = perSecond;
            random = new Random(topic.hashCode());
            var settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("compression.type", codec);
            settings.put("acks", "all");
            settings.put("linger.ms", "50");
            settings.put("batch.size", "262144");
            settings.put("delivery.timeout.ms", "60000");
            settings.putAll(more);
            producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        }

        abstract ProducerRecord<byte[], byte[]> make(long number, long timestamp);

        /** How many records a reader of committed data sees, or keys where the topic is compacted. */
        long visible() {
            return committed;
        }

        void send(long number, long timestamp) {
            producer.send(make(number, timestamp), Load::remember);
            committed++;
        }

        ProducerRecord<byte[], byte[]> fill(long timestamp, String key, String value, List<Header> headers) {
            return new ProducerRecord<>(topic, null, timestamp, bytes(key), bytes(value), headers);
        }
    }

    private static final AtomicReference<Exception> failed = new AtomicReference<>();

    private static void remember(Object ignored, Exception error) {
        if (error != null) {
            failed.compareAndSet(null, error);
        }
    }

    private static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    private static Header header(String name, String value) {
        return new RecordHeader(name, bytes(value));
    }

    private static <T> T pick(Random random, T[] of) {
        return of[random.nextInt(of.length)];
    }

    private static NewTopic topic(String name, int partitions, Map<String, String> configs) {
        return new NewTopic(name, partitions, (short) 1).configs(configs);
    }

    private static final List<NewTopic> TOPICS = List.of(
            topic("orders", 4, Map.of("retention.ms", "2592000000", "segment.bytes", "4194304")),
            topic("payments", 3, Map.of("retention.ms", "-1", "min.insync.replicas", "1")),
            topic("clicks", 4, Map.of("retention.ms", "604800000", "max.message.bytes", "2097152")),
            topic("invoices", 2, Map.of("retention.bytes", "1073741824")),
            topic("sensors", 2, Map.of()),
            // Old segments are compacted within seconds, so that the log that is backed up has holes.
            topic("customers", 2, Map.of("cleanup.policy", "compact", "segment.ms", "43200000",
                    "min.cleanable.dirty.ratio", "0.01")),
            topic("dead-letters", 1, Map.of()));

    private static List<Traffic> traffic(String bootstrap) {
        return List.of(
                new Traffic(bootstrap, "orders", "zstd", 40_000, 400, Map.of()) {
                    @Override
                    ProducerRecord<byte[], byte[]> make(long number, long timestamp) {
                        long order = 100_000 + number / STATES.length;
                        var headers = new ArrayList<Header>();
                        headers.add(header("content-type", "application/json"));
                        headers.add(header("trace-id", HexFormat.of().toHexDigits(random.nextLong())));
                        if (number % 10 == 0) { // the same name twice, and a header without a value
                            headers.add(header("retry", "1"));
                            headers.add(header("retry", "2"));
                            headers.add(header("operator", null));
                        }
                        String value = "{\"order\":" + order + ",\"state\":\"" + STATES[(int) (number % STATES.length)]
                                + "\",\"city\":\"" + pick(random, CITIES) + "\",\"items\":" + (1 + random.nextInt(9))
                                + ",\"cents\":" + random.nextInt(50_000) + "}";
                        return fill(timestamp, "order-" + order, value, headers);
                    }
                },
                new Traffic(bootstrap, "payments", "lz4", 20_000, 200, Map.of("transactional.id", "demo-payments")) {
                    @Override
                    ProducerRecord<byte[], byte[]> make(long number, long timestamp) {
                        String value = "{\"payment\":" + number + ",\"cents\":" + random.nextInt(50_000)
                                + ",\"iban\":\"DE" + (10_000_000_000L + random.nextInt()) + "\"}";
                        return fill(timestamp, "payment-" + number, value, List.of(header("method", "sepa")));
                    }
                },
                new Traffic(bootstrap, "clicks", "snappy", 60_000, 600, Map.of()) {
                    @Override
                    ProducerRecord<byte[], byte[]> make(long number, long timestamp) {
                        String value = "{\"session\":\"" + HexFormat.of().toHexDigits(random.nextInt(2_000)) + "\",\"page\":\""
                                + pick(random, PAGES) + "\",\"ms\":" + random.nextInt(900) + "}";
                        return fill(timestamp, null, value, List.of());
                    }
                },
                new Traffic(bootstrap, "invoices", "gzip", 1_500, 15, Map.of()) {
                    @Override
                    ProducerRecord<byte[], byte[]> make(long number, long timestamp) {
                        var value = new StringBuilder("{\"invoice\":" + number + ",\"lines\":[");
                        for (int line = 40 + random.nextInt(160); line > 0; line--) {
                            value.append("{\"article\":").append(random.nextInt(100_000)).append(",\"cents\":")
                                    .append(random.nextInt(10_000)).append("},");
                        }
                        value.append("{}]}");
                        return fill(timestamp, "invoice-" + number, value.toString(), List.of(header("version", "3")));
                    }
                },
                new Traffic(bootstrap, "sensors", "none", 30_000, 300, Map.of()) {
                    @Override
                    ProducerRecord<byte[], byte[]> make(long number, long timestamp) {
                        String value = "hall-" + random.nextInt(12) + ";" + (15 + random.nextInt(900) / 100.0);
                        return fill(timestamp, "sensor-" + random.nextInt(64), value, List.of());
                    }
                },
                new Traffic(bootstrap, "customers", "lz4", 15_000, 150, Map.of()) {
                    private final Set<String> keys = new HashSet<>();

                    @Override
                    long visible() {
                        return keys.size();
                    }

                    @Override
                    ProducerRecord<byte[], byte[]> make(long number, long timestamp) {
                        String customer = "customer-" + random.nextInt(1_500);
                        keys.add(customer);
                        boolean forgotten = random.nextInt(40) == 0; // a tombstone
                        String value = "{\"city\":\"" + pick(random, CITIES) + "\",\"points\":" + random.nextInt(5_000) + "}";
                        return fill(timestamp, customer, forgotten ? null : value, List.of(header("source", "crm")));
                    }
                });
    }

    /** Sends `records` records with the given timestamps, in transactions where the producer has them: each sixth is aborted. */
    private static void send(Traffic traffic, long first, int records, long from, long until) {
        boolean transactional = traffic.topic.equals("payments");
        int most = transactional ? 500 : Math.max(records, 1);
        for (int done = 0; done < records; done += most) {
            int size = Math.min(most, records - done);
            boolean abort = transactional && (first + done) / most % 6 == 5;
            if (transactional) {
                traffic.producer.beginTransaction();
            }
            for (int at = done; at < done + size; at++) {
                traffic.send(first + at, from + (until - from) * at / records);
            }
            if (abort) {
                traffic.producer.flush(); // the aborted records are to lie in the log
                traffic.producer.abortTransaction();
                traffic.committed -= size;
                traffic.aborted += size;
            } else if (transactional) {
                traffic.producer.commitTransaction();
            }
        }
    }

    private static void check() throws Exception {
        if (failed.get() != null) {
            throw failed.get();
        }
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        int liveSeconds = Integer.parseInt(arguments[1]);
        Path counts = Path.of(arguments[2]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(TOPICS).all().get();
        }
        List<Traffic> all = traffic(bootstrap);
        long now = System.currentTimeMillis();
        for (Traffic traffic : all) {
            if (traffic.topic.equals("payments")) {
                traffic.producer.initTransactions();
            }
            send(traffic, 0, traffic.history, now - HISTORY_MS, now);
            traffic.producer.flush();
            check();
        }
        System.out.println("history written");

        var sent = new TreeMap<String, Integer>();
        long begin = System.currentTimeMillis();
        for (long tick = begin; tick - begin < liveSeconds * 1000L; tick = System.currentTimeMillis()) {
            for (Traffic traffic : all) {
                int before = sent.getOrDefault(traffic.topic, 0);
                int due = (int) ((tick - begin) * traffic.perSecond / 1000);
                send(traffic, traffic.history + before, due - before, tick, tick);
                sent.put(traffic.topic, due);
            }
            check();
            Thread.sleep(200);
        }
        var lines = new ArrayList<String>();
        for (Traffic traffic : all) {
            traffic.producer.close();
            lines.add(traffic.topic + " " + traffic.visible() + " " + traffic.aborted);
        }
        check();
        lines.add("dead-letters 0 0");
        Files.write(counts, lines);
        System.out.println("all written");
    }
}
