//! Ids and revisions.

use expect_test::expect;
use proptest::prelude::*;

use crate::{Id, KeyValues, Kind, Revision, testing};

/// Ids are in URLs, logs and routes: they never change.
#[test]
fn ids_are_fixed() {
    let pairs = KeyValues::user([("os", "linux")]).unwrap();
    let queue = Id::derive(Kind::Queue, None, b"builds");
    let channel = Id::derive(Kind::Channel, Some(queue), pairs.as_bytes());
    expect!["222ef307-69fb-2c85-ae5c-5ccccdc5e437"].assert_eq(&queue.to_string());
    expect!["907ffa8d-5358-f194-26dd-43b715b3a975"].assert_eq(&channel.to_string());
}

#[test]
fn kind_and_parent_matter() {
    let parent = Id::from_u128(7);
    let mut ids = vec![
        Id::derive(Kind::Lock, None, b"x"),
        Id::derive(Kind::Counter, None, b"x"),
        Id::derive(Kind::Lock, Some(parent), b"x"),
        Id::derive(Kind::Lock, Some(Id::from_u128(8)), b"x"),
        Id::derive(Kind::Lock, None, &[parent.as_bytes().as_slice(), b"x"].concat()),
    ];
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[test]
fn what_is_not_an_id() {
    for text in [
        "",
        "0190163d8694739baea5966c26f8ad91",
        "0190163d-8694-739b-aea5-966c26f8ad9",
        "0190163d-8694-739b-aea5-966c26f8ad911",
        "0190163d-8694-739b-aea5_966c26f8ad91",
        "g190163d-8694-739b-aea5-966c26f8ad91",
        "+190163d-8694-739b-aea5-966c26f8ad91",
        "é90163d-8694-739b-aea5-966c26f8ad91",
    ] {
        assert!(text.parse::<Id>().is_err(), "{text:?}");
    }
}

#[test]
fn revisions_end() {
    assert_eq!(Revision(1).next(), Some(Revision(2)));
    assert_eq!(Revision(u64::MAX).next(), None);
}

proptest! {
    #[test]
    fn ids_read_back(id in testing::id()) {
        let text = id.to_string();
        prop_assert_eq!(text.parse(), Ok(id));
        prop_assert_eq!(text.to_uppercase().parse(), Ok(id));
        prop_assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        prop_assert_eq!(serde_json::from_str::<Id>(&format!("\"{text}\"")).unwrap(), id);
        let bytes = postcard::to_stdvec(&id).unwrap();
        prop_assert_eq!(bytes.len(), 16);
        prop_assert_eq!(postcard::from_bytes::<Id>(&bytes).unwrap(), id);
    }
}
