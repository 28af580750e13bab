//! The words of an election, ours and those of other registries.

use super::*;
use crate::store::kafka::election::{Identity, assign, elected};

const KARAPACE: &[u8] =
    br#"{"version":2,"karapace_version":"4.1","host":"b","port":8081,"scheme":"http","master_eligibility":true}"#;

#[test]
fn the_smallest_url_that_may_is_elected() {
    let (ours, not) = (Identity::new("http", "c", 8081, true), Identity::new("http", "a", 8081, false));
    let (ours, not) = (ours.metadata(), not.metadata());
    let assigned = assign([("m1", &ours[..]), ("m2", KARAPACE), ("m3", &not[..]), ("m4", b"?")]);
    assert_eq!(
        assigned.iter().map(|(member, _)| member.as_str()).collect::<Vec<_>>(),
        ["m1", "m2", "m3", "m4"]
    );
    let bytes = &assigned[0].1;
    assert_eq!(
        String::from_utf8_lossy(bytes),
        r#"{"version":1,"error":0,"master":"m2","master_identity":{"version":2,"host":"b","port":8081,"master_eligibility":true,"scheme":"http"}}"#
    );
    assert_eq!(elected(bytes, "m2", 5), Writer::This(5));
    assert_eq!(elected(bytes, "m1", 5), Writer::Other("http://b:8081".into()));
}

#[test]
fn our_words_are_confluents() {
    let identity = Identity::new("https", "h", 1, true);
    assert_eq!(
        String::from_utf8_lossy(&identity.metadata()),
        r#"{"version":1,"host":"h","port":1,"master_eligibility":true,"scheme":"https"}"#
    );
    assert_eq!(Identity::new("http", "::1", 80, true).to_string(), "http://[::1]:80");
}

#[test]
fn nobody_writes_where_it_cannot_be_told_who() {
    let one = Identity::new("http", "h", 1, true).metadata();
    let none = Identity::new("http", "g", 1, false).metadata();
    let twice = &assign([("m1", &one[..]), ("m2", &one[..])])[0].1;
    assert!(matches!(elected(twice, "m1", 1), Writer::Nobody(why) if why.contains("same URL")));
    let nobody = &assign([("m1", &none[..])])[0].1;
    assert!(matches!(elected(nobody, "m1", 1), Writer::Nobody(_)));
    assert!(matches!(elected(b"\xff", "m1", 1), Writer::Nobody(_)));
}
