//! The endpoints by name, with the path that metrics and documents call them by.

macro_rules! endpoints {
    ($($name:ident $method:literal $path:literal $label:literal,)*) => {
        /// What a request asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "method and path say what each is")]
        pub enum Endpoint { $($name,)* }

        impl Endpoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The HTTP method.
            pub fn method(self) -> &'static str {
                match self { $(Self::$name => $method,)* }
            }

            /// The path, with names for what varies.
            pub fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// The name in metrics: Confluent's, where it has one.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

endpoints! {
    Root "GET" "/" "root.get",
    Live "GET" "/health/live" "health.live",
    Ready "GET" "/health/ready" "health.ready",
    Startup "GET" "/health/startup" "health.startup",
    Types "GET" "/schemas/types" "schemas.get-types",
    Schemas "GET" "/schemas" "schemas.get-schemas",
    SchemaById "GET" "/schemas/ids/{id}" "schemas.ids.get-schema",
    SchemaTextById "GET" "/schemas/ids/{id}/schema" "schemas.ids.get-schema.only",
    SubjectsOfId "GET" "/schemas/ids/{id}/subjects" "schemas.get-subjects",
    VersionsOfId "GET" "/schemas/ids/{id}/versions" "schemas.get-versions",
    SchemaByGuid "GET" "/schemas/guids/{guid}" "schemas.guids.get-schema",
    IdsOfGuid "GET" "/schemas/guids/{guid}/ids" "schemas.guids.get-ids",
    Subjects "GET" "/subjects" "subjects.list",
    LookUp "POST" "/subjects/{subject}" "subjects.get-schema",
    DeleteSubject "DELETE" "/subjects/{subject}" "subjects.delete-subject",
    ByMetadata "GET" "/subjects/{subject}/metadata" "subjects.get-latest-with-metadata",
    Versions "GET" "/subjects/{subject}/versions" "subjects.versions.list",
    Register "POST" "/subjects/{subject}/versions" "subjects.versions.register",
    Version "GET" "/subjects/{subject}/versions/{version}" "subjects.versions.get-schema",
    VersionText "GET" "/subjects/{subject}/versions/{version}/schema" "subjects.versions.get-schema.only",
    ReferencedBy "GET" "/subjects/{subject}/versions/{version}/referencedby" "subjects.versions.referenced-by",
    DeleteVersion "DELETE" "/subjects/{subject}/versions/{version}" "subjects.versions.delete",
    CheckVersion "POST" "/compatibility/subjects/{subject}/versions/{version}" "compatibility.subjects.versions.verify",
    CheckSubject "POST" "/compatibility/subjects/{subject}/versions" "compatibility.subjects.versions.verify-all",
    Config "GET" "/config" "config.get-global",
    SetConfig "PUT" "/config" "config.update-global",
    DeleteConfig "DELETE" "/config" "config.delete-global",
    ConfigOfSubject "GET" "/config/{subject}" "config.get-subject",
    SetConfigOfSubject "PUT" "/config/{subject}" "config.update-subject",
    DeleteConfigOfSubject "DELETE" "/config/{subject}" "config.delete-subject",
    Mode "GET" "/mode" "mode.get-global",
    SetMode "PUT" "/mode" "mode.update-global",
    DeleteMode "DELETE" "/mode" "mode.delete-global",
    ModeOfSubject "GET" "/mode/{subject}" "mode.get-subject",
    SetModeOfSubject "PUT" "/mode/{subject}" "mode.update-subject",
    DeleteModeOfSubject "DELETE" "/mode/{subject}" "mode.delete-subject",
    Contexts "GET" "/contexts" "contexts.list",
    DeleteContext "DELETE" "/contexts/{context}" "contexts.delete",
    MetadataId "GET" "/v1/metadata/id" "metadata.id",
    MetadataVersion "GET" "/v1/metadata/version" "metadata.version",
}
