//! Words for a key that no section knows: the nearest one that it does know, where it would belong, and all it takes.

use super::error::{At, Problems};
use super::keys::Table;

/// The names of a list that are nearest to `name`, where one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.', ' '], "_");
    let wanted = plain(name);
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    known
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Reports an unknown key of a section, `path` being the section's place in this file, and `file` what kind of file it is.
pub(crate) fn report(
    key: &str,
    at: At,
    path: &str,
    table: &Table,
    all: &[&'static Table],
    file: &str,
    problems: &mut Problems,
) {
    let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in {path}") };
    let shown: String = key.chars().take(80).collect();
    let mut message = format!("unknown key {shown:?} {place}");
    let names =
        || table.keys.iter().flat_map(|key| std::iter::once(key.name).chain(key.also.iter().copied()));
    let home =
        || all.iter().find(|other| other.keys.iter().any(|known| known.name == key && known.is_honoured()));
    if let Some(near) = nearest(key, names().filter(|name| !name.ends_with('*'))) {
        message.push_str(&format!("; did you mean {near:?}?"));
    } else if let Some(home) = home() {
        let home = if home.path.is_empty() { "the top level" } else { home.path };
        message.push_str(&format!("; it belongs to {home}"));
    }
    let takes: Vec<&str> = table.keys.iter().filter(|key| key.is_useful()).map(|key| key.name).collect();
    let section = if path.is_empty() { file } else { path };
    let hint = match takes.as_slice() {
        [] => format!("{section} takes no keys"),
        takes => format!("{section} takes: {}", takes.join(", ")),
    };
    problems.add(at, message, hint);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_name_or_none() {
        let known = ["segment_max_bytes", "segment_max_records", "compression", "continuous"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("segment_max_byte"), Some("segment_max_bytes"));
        assert_eq!(near("compresion"), Some("compression"));
        assert_eq!(near("segment-max-records"), Some("segment_max_records"));
        assert_eq!(near("Continuous"), Some("continuous"));
        assert_eq!(near("topics"), None);
        assert_eq!(near(""), None);
    }
}
