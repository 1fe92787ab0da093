//! Serializers: name, content type, encoding, and which of them a receiver accepts.

use std::collections::BTreeSet;

/// A serializer Celery knows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serializer {
    /// The default.
    Json,
    /// Reads and writes anything; runs code when read, so it must be enabled.
    Pickle,
    /// Through PyYAML.
    Yaml,
    /// Compact, binary.
    Msgpack,
    /// Bytes as they are.
    Raw,
}

impl Serializer {
    /// The serializer with a name (`json`) or content type (`application/json`).
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" | "application/json" => Self::Json,
            "pickle" | "application/x-python-serialize" => Self::Pickle,
            "yaml" | "application/x-yaml" => Self::Yaml,
            "msgpack" | "application/x-msgpack" => Self::Msgpack,
            "raw" | "application/data" => Self::Raw,
            _ => return None,
        })
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Pickle => "pickle",
            Self::Yaml => "yaml",
            Self::Msgpack => "msgpack",
            Self::Raw => "raw",
        }
    }

    /// The `content-type` of what it writes.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Pickle => "application/x-python-serialize",
            Self::Yaml => "application/x-yaml",
            Self::Msgpack => "application/x-msgpack",
            Self::Raw => "application/data",
        }
    }

    /// The `content-encoding` of what it writes.
    pub fn content_encoding(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => "utf-8",
            Self::Pickle | Self::Msgpack | Self::Raw => "binary",
        }
    }
}

/// Plain bytes and text, which no deserializer touches: always accepted, as by kombu.
const TRUSTED: [&str; 2] = ["application/data", "application/text"];

/// The content types a receiver accepts (`accept_content`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept(BTreeSet<String>);

impl Default for Accept {
    /// JSON alone.
    fn default() -> Self {
        Self::of(["json"])
    }
}

impl Accept {
    /// From names and content types, mixed. A name without `/` that is no serializer's is taken as it is; whoever
    /// knows serializers registered in Python passes their content types.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let content_type = |name: &str| match Serializer::named(name) {
            Some(serializer) => serializer.content_type().to_owned(),
            None => name.to_owned(),
        };
        Self(names.into_iter().map(content_type).collect())
    }

    /// Whether a message of this content type may be read. A message without one counts as plain bytes.
    pub fn allows(&self, content_type: &str) -> bool {
        content_type.is_empty() || TRUSTED.contains(&content_type) || self.0.contains(content_type)
    }

    /// The accepted content types, for error texts.
    pub fn content_types(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_content_types_mean_the_same() {
        let accept = Accept::of(["json", "application/x-msgpack", "application/x-mine"]);
        for content_type in ["application/json", "application/x-msgpack", "application/x-mine", "application/data", ""]
        {
            assert!(accept.allows(content_type), "{content_type}");
        }
        assert!(!accept.allows("application/x-python-serialize"));
        assert!(!Accept::default().allows("application/x-msgpack"));
    }
}
