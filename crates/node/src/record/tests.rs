//! Codec round trips, and refusals.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use willow_core::command::{CancelWait, Initialize};
use willow_core::{Command, Envelope, Outcome, RequestId, WaiterId};

use super::*;

fn ids() -> impl Strategy<Value = EntryId> {
    (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(term, node, index)| EntryId { term, node, index })
}

fn members() -> impl Strategy<Value = Members> {
    (vec(btree_set(any::<u64>(), 0..4), 0..3), btree_map(any::<u64>(), ".{0,12}", 0..4))
        .prop_map(|(configs, nodes)| Members { configs, nodes })
}

fn envelopes() -> impl Strategy<Value = Envelope> {
    let initialize = (any::<u128>(), any::<[u8; 32]>())
        .prop_map(|(cluster, secret)| Command::Initialize(Initialize { cluster, secret }));
    let cancel = (any::<u64>(), any::<bool>()).prop_map(|(waiter, is_granted)| {
        let undelivered = is_granted.then(|| Box::new(Outcome::Done));
        Command::CancelWait(CancelWait { waiter: WaiterId(waiter), undelivered })
    });
    (proptest::option::of("[a-z]{1,40}"), any::<u128>(), prop_oneof![initialize, cancel]).prop_map(
        |(request_id, entropy, command)| Envelope {
            request_id: request_id.and_then(|text| RequestId::new(&text)),
            entropy,
            command,
        },
    )
}

proptest! {
    #[test]
    fn entries_come_back(id in ids(), batch in vec(any::<u8>(), 0..200), of in members()) {
        for body in [Body::Blank, Body::Batch(&batch), Body::Members(of)] {
            let bytes = encode_entry(id, &body).unwrap();
            prop_assert_eq!(decode_entry(&bytes).unwrap(), (id, body));
        }
    }

    #[test]
    fn a_batch_encodes_as_its_envelopes_one_after_the_other(
        time_ms in any::<u64>(),
        envelopes in vec(envelopes(), 0..20),
    ) {
        let mut joined = Vec::new();
        for envelope in &envelopes {
            joined = append(joined, envelope).unwrap();
        }
        let bytes = encode_batch(time_ms, envelopes.len(), &joined).unwrap();
        let batch = Batch { time_ms, envelopes };
        prop_assert_eq!(&bytes, &postcard::to_stdvec(&batch).unwrap());
        prop_assert_eq!(decode_batch(&bytes).unwrap(), batch);
    }

    #[test]
    fn state_comes_back(id in ids(), of in members(), committed in any::<bool>(), group in any::<u32>()) {
        let vote = VoteRecord { term: id.term, node: id.node, committed };
        prop_assert_eq!(decode::<VoteRecord>(&encode(&vote).unwrap()).unwrap(), vote);
        let head = SnapshotHead { group, last: Some(id), members_at: None, members: of };
        prop_assert_eq!(decode::<SnapshotHead>(&encode(&head).unwrap()).unwrap(), head);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..100), known in any::<bool>()) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (known, bytes.first_mut()) {
            *first = VERSION;
        }
        let _outcome = decode_entry(&bytes);
        let _outcome = decode_batch(&bytes);
        let _outcome = decode::<SnapshotHead>(&bytes);
    }

    #[test]
    fn other_versions_are_refused_by_name(id in ids(), found in any::<u8>()) {
        prop_assume!(!(VERSION_OLDEST..=VERSION).contains(&found));
        let mut bytes = encode_entry(id, &Body::Blank).unwrap();
        bytes[0] = found;
        let refusal = RecordError::Version { found, oldest: VERSION_OLDEST, newest: VERSION };
        prop_assert_eq!(decode_entry(&bytes), Err(refusal));
    }
}

#[test]
fn what_follows_a_record_is_refused() {
    let id = EntryId { term: 1, node: 1, index: 7 };
    let mut blank = encode_entry(id, &Body::Blank).unwrap();
    blank.push(0);
    assert!(matches!(decode_entry(&blank), Err(RecordError::Malformed(_))));
    assert_eq!(decode_entry(&[]), Err(RecordError::Empty));
    assert!(matches!(decode_entry(&[VERSION, 1, 1, 7]), Err(RecordError::Malformed(_))));
    assert!(matches!(decode_entry(&[VERSION, 1, 1, 7, 9]), Err(RecordError::Malformed(_))));
}

/// The bytes on disk are a promise to the next release.
#[test]
fn version_2_is_these_bytes() {
    let id = EntryId { term: 3, node: 2, index: 300 };
    assert_eq!(encode_entry(id, &Body::Blank).unwrap(), [2, 3, 2, 0xac, 0x02, 0]);
    assert_eq!(encode_entry(id, &Body::Batch(&[7, 0])).unwrap(), [2, 3, 2, 0xac, 0x02, 1, 7, 0]);
    let of = Members { configs: vec![[1].into()], nodes: [(1, "a".to_owned())].into() };
    assert_eq!(encode_entry(id, &Body::Members(of)).unwrap(), [2, 3, 2, 0xac, 0x02, 2, 1, 1, 1, 1, 1, 1, b'a']);
}
