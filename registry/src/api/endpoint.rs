//! The endpoints, in one table: the router finds them by it, metrics name them by it, and the OpenAPI document is written from it.

/// An endpoint as the table has it.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with names for what varies.
    pub path: &'static str,
    /// The name in metrics: Confluent's, where it has one.
    pub label: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Its query parameters.
    pub query: &'static [&'static str],
    /// The shape of its body, where it takes one.
    pub body: Option<&'static str>,
    /// The shape of its answer.
    pub answer: &'static str,
    /// Numbers of errors that it has of its own.
    pub errors: &'static [u32],
}

macro_rules! endpoints {
    ($($name:ident $method:literal $path:literal $label:literal $summary:literal
       [$($query:literal)*] $(<- $body:literal)? -> $answer:literal [$($error:literal)*],)*) => {
        /// What a request asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "method and path say what each is")]
        pub enum Endpoint { $($name,)* }

        impl Endpoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its row of the table.
            pub fn route(self) -> &'static Route {
                match self {
                    $(Self::$name => &Route {
                        method: $method,
                        path: $path,
                        label: $label,
                        summary: $summary,
                        query: &[$($query,)*],
                        body: body!($($body)?),
                        answer: $answer,
                        errors: &[$($error,)*],
                    },)*
                }
            }
        }
    };
}

macro_rules! body {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

impl Endpoint {
    /// The HTTP method.
    pub fn method(self) -> &'static str {
        self.route().method
    }

    /// The path, with names for what varies.
    pub fn path(self) -> &'static str {
        self.route().path
    }

    /// The name in metrics: Confluent's, where it has one.
    pub fn label(self) -> &'static str {
        self.route().label
    }

    /// Whether it exists in every context, under `/contexts/{context}`.
    pub fn is_contextual(self) -> bool {
        let first = self.path().split('/').nth(1).unwrap_or("");
        matches!(
            first,
            "schemas" | "subjects" | "compatibility" | "config" | "mode" | "statistics" | "import"
        )
    }
}

// Where two paths fit a request, the one with more fixed words counts.
endpoints! {
    Root "GET" "/" "root.get" "Says that it is there" [] -> "Empty" [],
    PostRoot "POST" "/" "root.post" "Says that it is there" [] -> "Empty" [],
    Live "GET" "/health/live" "health.live" "Whether the process answers" [] -> "Health" [],
    Ready "GET" "/health/ready" "health.ready" "Whether it can work" [] -> "Health" [503],
    Startup "GET" "/health/startup" "health.startup" "Whether it has started" [] -> "Health" [503],
    KarapaceHealth "GET" "/_health" "health.karapace" "Whether it can work, in Karapace's words" [] -> "KarapaceHealth" [503],
    MasterAvailable "GET" "/master_available" "master.available" "Whether schemas can be registered" [] -> "MasterAvailable" [],
    Types "GET" "/schemas/types" "schemas.get-types" "Types of schemas that are understood" [] -> "Names" [],
    Schemas "GET" "/schemas" "schemas.get-schemas" "Schemas by subject and version"
        ["subjectPrefix" "aliases" "deleted" "latestOnly" "ruleType" "offset" "limit"] -> "Versions" [42209],
    SchemaById "GET" "/schemas/ids/{id}" "schemas.ids.get-schema" "The schema of an id"
        ["subject" "format" "referenceFormat" "findTags" "fetchMaxId"] -> "SchemaOfId" [40403],
    SchemaTextById "GET" "/schemas/ids/{id}/schema" "schemas.ids.get-schema.only" "The text of an id's schema"
        ["subject" "format"] -> "Text" [40403],
    SubjectsOfId "GET" "/schemas/ids/{id}/subjects" "schemas.get-subjects" "Subjects that have the schema of an id"
        ["subject" "deleted" "offset" "limit"] -> "Names" [40403],
    VersionsOfId "GET" "/schemas/ids/{id}/versions" "schemas.get-versions" "Versions that are the schema of an id"
        ["subject" "deleted" "offset" "limit"] -> "SubjectVersions" [40403],
    SchemaByGuid "GET" "/schemas/guids/{guid}" "schemas.guids.get-schema" "The schema of a GUID"
        ["format"] -> "SchemaOfId" [40403],
    IdsOfGuid "GET" "/schemas/guids/{guid}/ids" "schemas.guids.get-ids" "Contexts and ids of a GUID" [] -> "ContextIds" [40403],
    ValidateSchema "POST" "/schemas/validate" "schemas.validate" "Whether a text is a schema" []
        <- "Schema" -> "Validation" [42201],
    NormalizeSchema "POST" "/schemas/normalize" "schemas.normalize" "The normal form of a schema" []
        <- "Schema" -> "NormalForm" [42201],
    SearchSchemas "POST" "/schemas/search" "schemas.search" "Subjects whose latest text has something in it" []
        <- "TextSearch" -> "TextMatches" [42201],
    SearchFields "POST" "/schemas/search/field" "schemas.search-field" "Fields by name, in the latest versions" []
        <- "FieldSearch" -> "FieldMatches" [42201],
    SearchTypes "POST" "/schemas/search/type" "schemas.search-type" "Fields by type, in the latest versions" []
        <- "TypeSearch" -> "TypeMatches" [42201],
    Subjects "GET" "/subjects" "subjects.list" "Subjects"
        ["subjectPrefix" "deleted" "deletedOnly" "offset" "limit"] -> "Names" [],
    CountSubjects "GET" "/subjects/count" "subjects.count" "How many subjects there are" [] -> "Count" [],
    ValidateSubject "POST" "/subjects/validate" "subjects.validate" "Whether a name follows a naming strategy" []
        <- "SubjectName" -> "SubjectNameVerdict" [42201],
    MatchSubjects "POST" "/subjects/match" "subjects.match" "Subjects by pattern" []
        <- "SubjectPattern" -> "SubjectMatches" [42201],
    LookUp "POST" "/subjects/{subject}" "subjects.get-schema" "The version that a schema is"
        ["normalize" "format" "deleted" "referenceFormat"] <- "Schema" -> "Version" [40401 40403 42201],
    DeleteSubject "DELETE" "/subjects/{subject}" "subjects.delete-subject" "Delete a subject, softly first"
        ["permanent"] -> "Numbers" [40401 40404 40405 42205 42206],
    ByMetadata "GET" "/subjects/{subject}/metadata" "subjects.get-latest-with-metadata" "The newest version with these properties"
        ["key" "value" "format" "deleted" "referenceFormat"] -> "Version" [40401 40403],
    History "GET" "/subjects/{subject}/history" "subjects.history" "Versions of a subject with their ids"
        ["deleted" "offset" "limit"] -> "History" [40401],
    ExportSubject "GET" "/subjects/{subject}/export" "subjects.export" "All versions of a subject, for POST /import/schemas"
        ["deleted" "offset" "limit"] -> "Export" [40401],
    Diff "POST" "/subjects/{subject}/diff" "subjects.diff" "What fields two versions have of their own" []
        <- "VersionPair" -> "Difference" [40401 40402 42201],
    Versions "GET" "/subjects/{subject}/versions" "subjects.versions.list" "Versions of a subject"
        ["deleted" "deletedOnly" "deletedAsNegative" "offset" "limit"] -> "Numbers" [40401],
    CountVersions "GET" "/subjects/{subject}/versions/count" "subjects.versions.count" "How many versions a subject has" []
        -> "VersionCount" [40401],
    Register "POST" "/subjects/{subject}/versions" "subjects.versions.register" "Register a schema"
        ["normalize" "format" "force"] <- "Registration" -> "Registered" [409 42201 42205 42208 42209 42210],
    Version "GET" "/subjects/{subject}/versions/{version}" "subjects.versions.get-schema" "A version"
        ["format" "referenceFormat" "deleted" "findTags"] -> "Version" [40401 40402 42202],
    VersionText "GET" "/subjects/{subject}/versions/{version}/schema" "subjects.versions.get-schema.only" "The text of a version"
        ["format" "deleted"] -> "Text" [40401 40402 42202],
    ReferencedBy "GET" "/subjects/{subject}/versions/{version}/referencedby" "subjects.versions.referenced-by" "Ids of schemas that refer to a version"
        ["deleted" "offset" "limit"] -> "Numbers" [40401 40402 42202],
    Dependencies "GET" "/subjects/{subject}/versions/{version}/dependencies" "subjects.versions.dependencies" "What a version leads to, and what leads to it"
        [] -> "Dependencies" [40401 40402 42202],
    ExportVersion "GET" "/subjects/{subject}/versions/{version}/export" "subjects.versions.export" "A version with its compatibility level"
        ["deleted"] -> "ExportedVersion" [40401 40402 42202],
    DeleteVersion "DELETE" "/subjects/{subject}/versions/{version}" "subjects.versions.delete" "Delete a version, softly first"
        ["permanent"] -> "Number" [40401 40402 40406 40407 42202 42205 42206],
    CheckVersion "POST" "/compatibility/subjects/{subject}/versions/{version}" "compatibility.subjects.versions.verify" "Whether a schema fits a version"
        ["verbose" "normalize"] <- "Schema" -> "Verdict" [40402 42201 42202],
    CheckSubject "POST" "/compatibility/subjects/{subject}/versions" "compatibility.subjects.versions.verify-all" "Whether a schema fits a subject"
        ["verbose" "normalize"] <- "Schema" -> "Verdict" [42201],
    Explain "POST" "/compatibility/subjects/{subject}/explain" "compatibility.subjects.explain" "Why a schema does not fit a subject"
        ["normalize"] <- "Schema" -> "Explanation" [42201],
    Suggest "POST" "/compatibility/subjects/{subject}/suggest" "compatibility.subjects.suggest" "What may be changed under a subject's level" []
        -> "Suggestions" [],
    CheckSubjects "POST" "/compatibility/check" "compatibility.check" "Whether a schema fits several subjects"
        ["normalize"] <- "ManyChecks" -> "ManyVerdicts" [42201],
    CompareSubjects "POST" "/compatibility/compare" "compatibility.compare" "What fields two subjects share" []
        <- "SubjectPair" -> "Comparison" [40401 42201],
    Config "GET" "/config" "config.get-global" "The settings" ["defaultToGlobal"] -> "Config" [40408],
    SetConfig "PUT" "/config" "config.update-global" "Change the settings" [] <- "ConfigUpdate" -> "ConfigUpdate" [42203 42205 42210],
    DeleteConfig "DELETE" "/config" "config.delete-global" "Remove the settings" [] -> "Config" [40401 42205],
    ConfigOfSubject "GET" "/config/{subject}" "config.get-subject" "The settings of a subject"
        ["defaultToGlobal"] -> "Config" [40408],
    SetConfigOfSubject "PUT" "/config/{subject}" "config.update-subject" "Change the settings of a subject" []
        <- "ConfigUpdate" -> "ConfigUpdate" [42203 42205 42208 42210],
    DeleteConfigOfSubject "DELETE" "/config/{subject}" "config.delete-subject" "Remove the settings of a subject" []
        -> "Config" [40401 42205],
    Mode "GET" "/mode" "mode.get-global" "The mode" ["defaultToGlobal"] -> "Mode" [40409],
    SetMode "PUT" "/mode" "mode.update-global" "Set the mode" ["force"] <- "ModeUpdate" -> "ModeUpdate" [42204 42205 42206],
    DeleteMode "DELETE" "/mode" "mode.delete-global" "Remove the mode" ["recursive"] -> "Mode" [40401 42205],
    ModeOfSubject "GET" "/mode/{subject}" "mode.get-subject" "The mode of a subject" ["defaultToGlobal"] -> "Mode" [40409],
    SetModeOfSubject "PUT" "/mode/{subject}" "mode.update-subject" "Set the mode of a subject"
        ["force"] <- "ModeUpdate" -> "ModeUpdate" [42204 42205 42206 42208],
    DeleteModeOfSubject "DELETE" "/mode/{subject}" "mode.delete-subject" "Remove the mode of a subject"
        ["recursive"] -> "Mode" [40401 42205],
    Import "POST" "/import/schemas" "import.schemas" "Register schemas with their ids and versions, in IMPORT mode" []
        <- "Import" -> "Imported" [42201 42205],
    Statistics "GET" "/statistics" "statistics.get" "How much is registered" [] -> "Statistics" [],
    FieldStatistics "GET" "/statistics/fields/{field}" "statistics.field" "Which types a field has in the latest versions"
        ["after"] -> "FieldUsages" [],
    PatternStatistics "GET" "/statistics/patterns" "statistics.patterns" "Fields that several subjects have"
        ["after"] -> "Patterns" [],
    Contexts "GET" "/contexts" "contexts.list" "Contexts" ["contextPrefix" "offset" "limit"] -> "Names" [],
    DeleteContext "DELETE" "/contexts/{context}" "contexts.delete" "Remove an empty context" [] -> "Nothing" [42211],
    Standby "GET" "/admin/standby" "admin.standby.get" "Whether this is a standby, of whom, and how far behind" []
        -> "Standby" [],
    Promote "POST" "/admin/standby/promote" "admin.standby.promote" "Make a standby a registry of its own" []
        -> "Promotion" [42205],
    MetadataId "GET" "/v1/metadata/id" "metadata.id" "Which cluster this belongs to" [] -> "ClusterId" [],
    MetadataVersion "GET" "/v1/metadata/version" "metadata.version" "Which program answers" [] -> "ProgramVersion" [],
    MetadataDeployment "GET" "/v1/metadata/deployment" "metadata.deployment" "What kind of deployment this is" [] -> "Deployment" [],
    OpenApiJson "GET" "/openapi.json" "openapi.json" "This document" [] -> "Document" [],
    OpenApiYaml "GET" "/openapi.yaml" "openapi.yaml" "This document, in YAML" [] -> "Yaml" [],
    Docs "GET" "/docs" "docs.get" "This document, for people" [] -> "Page" [],
}
