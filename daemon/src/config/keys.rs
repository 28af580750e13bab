//! The table of every key: its name, type, default, what it does, and where it comes from.
//!
//! Each section's file holds its own [`Table`] beside its struct. Everything that must agree about keys reads these
//! tables: the checker (types, ranges, defaults), the nearest-match errors, `configs/README.md` and `configs/full.yaml`.
//! A default is written once, as the text a person would write.

/// A section: where it stands in a file, what it is for, and its keys.
#[derive(Debug)]
pub(crate) struct Table {
    /// The section's path, `""` at the top level. Sections with kinds name the kind: `storage (s3)`.
    pub(crate) path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the pages made from the tables"))]
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Other spellings; one that ends in `*` stands for every key that begins so.
    pub(crate) also: &'static [&'static str],
    /// Environment variables that say it too, and win over a file. None for job files.
    pub(crate) env: &'static [&'static str],
    pub(crate) kind: Kind,
    /// The default as it would be written; `None` where leaving the key out is a choice of its own.
    pub(crate) default: Option<&'static str>,
    /// A value to show where there is no default.
    pub(crate) example: &'static str,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the pages made from the tables"))]
    pub(crate) origin: Origin,
    pub(crate) handling: Handling,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// OSO kafka-backup has it, with this meaning.
    Oso,
    /// Only here.
    Ours,
    /// Kafka's, Java's or librdkafka's name for a setting.
    Kafka,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handling {
    /// It works.
    Honoured,
    /// It is accepted, and a notice says why it changes nothing here.
    NoEffect(&'static str),
    /// It is refused, unless its value asks for nothing.
    Refused { why: &'static str, instead: &'static str, unless: Harmless },
}

/// The values of a refused key that ask for nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harmless {
    /// None.
    Never,
    /// These texts.
    Values(&'static [&'static str]),
    /// An empty list or map.
    Empty,
    /// A section that says `enabled: false`.
    Disabled,
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Secret,
    Bool,
    /// A whole number within bounds.
    Int {
        min: i64,
        max: i64,
    },
    /// Bytes: a number, or a number with a unit.
    Size {
        min: i64,
        max: i64,
    },
    /// A length of time of at least `min` milliseconds. A number without a unit counts in units of `plain`
    /// milliseconds; `None`: the unit must be written.
    Duration {
        plain: Option<i64>,
        min: i64,
    },
    /// A moment: milliseconds since 1970 UTC, or RFC 3339.
    Time,
    Choice(&'static [&'static str]),
    /// The same where the case of letters does not matter.
    Word(&'static [&'static str]),
    List(&'static Kind),
    Map(&'static Kind, &'static Kind),
    Section(&'static Table),
    /// A section whose keys depend on the value of its key `tag`.
    Tagged {
        tag: &'static str,
        variants: &'static [(&'static str, &'static Table)],
    },
    /// A Kafka topic's name.
    Topic,
    /// A topic's name, a glob or a `~regex`.
    TopicPattern,
    /// A topic and a partition, written `orders-0`.
    TopicPartition,
    /// Host and port of one broker, or several with commas.
    Server,
    /// A host, with or without a port.
    Host,
    BackupId,
    Lineage,
    /// A consumer group's name, a glob or a `~regex`.
    GroupPattern,
    /// A subject's name or a glob; a list of them may be one alone.
    SubjectPattern,
    /// `earliest`, `latest`, or offsets by topic and partition.
    StartOffset,
    /// A config's value by its name, for all topics or by topic.
    TopicConfigs,
    /// Whatever it is: for keys that are refused or have no effect.
    Any,
}

/// A partition's number.
pub(crate) const PARTITION: Kind = Kind::Int { min: 0, max: i32::MAX as i64 };

/// A key that OSO has too, honoured, optional.
pub(crate) const fn oso(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        also: &[],
        env: &[],
        kind,
        default: None,
        example: "",
        required: false,
        about,
        origin: Origin::Oso,
        handling: Handling::Honoured,
    }
}

/// A key of ours, honoured, optional.
pub(crate) const fn ours(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { origin: Origin::Ours, ..oso(name, kind, about) }
}

/// A key of OSO's that changes nothing here.
pub(crate) const fn no_effect(name: &'static str, kind: Kind, why: &'static str) -> Key {
    Key { handling: Handling::NoEffect(why), ..oso(name, kind, "") }
}

/// A key of OSO's that is refused: `why` completes "is not supported: ...", `instead` is the next step.
pub(crate) const fn refused(name: &'static str, why: &'static str, instead: &'static str) -> Key {
    Key { handling: Handling::Refused { why, instead, unless: Harmless::Never }, ..oso(name, Kind::Any, "") }
}

impl Key {
    pub(crate) const fn default(self, text: &'static str) -> Self {
        Self { default: Some(text), ..self }
    }

    pub(crate) const fn example(self, text: &'static str) -> Self {
        Self { example: text, ..self }
    }

    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(crate) const fn also(self, names: &'static [&'static str]) -> Self {
        Self { also: names, ..self }
    }

    /// Names environment variables that say it too.
    pub(crate) const fn env(self, names: &'static [&'static str]) -> Self {
        Self { env: names, ..self }
    }

    /// Marks another system's name for a setting.
    pub(crate) const fn kafka(self) -> Self {
        Self { origin: Origin::Kafka, ..self }
    }

    /// Accepts values of a refused key that ask for nothing.
    pub(crate) const fn unless(self, harmless: Harmless) -> Self {
        match self.handling {
            Handling::Refused { why, instead, .. } => {
                Self { handling: Handling::Refused { why, instead, unless: harmless }, ..self }
            }
            Handling::Honoured | Handling::NoEffect(_) => self,
        }
    }

    pub(crate) fn is_honoured(&self) -> bool {
        matches!(self.handling, Handling::Honoured)
    }

    /// Whether there is anything to be set with it: a section whose keys are all refused is merely known.
    pub(crate) fn is_useful(&self) -> bool {
        let idle = matches!(self.kind, Kind::Section(table) if !table.keys.iter().any(Key::is_honoured));
        self.is_honoured() && !idle
    }

    fn answers_to(&self, name: &str) -> bool {
        std::iter::once(&self.name).chain(self.also).any(|known| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *known == name,
        })
    }
}

impl Table {
    /// The key that a name in a file means.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.answers_to(name))
    }
}
