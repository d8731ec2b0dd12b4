//! Pages and their tokens, with the naive reference.

use std::collections::BTreeSet;

use expect_test::expect;
use proptest::prelude::*;
use willow_model::Id;

use crate::naive::{self, Doc};
use crate::testing::{docs, list_query};
use crate::{PageTokenError, PageTokens, Position, Query};

const SECRET: [u8; 32] = [7; 32];

fn tokens(query: &Query) -> PageTokens<'static> {
    PageTokens::new(&SECRET, b"locks", query)
}

fn position() -> Position {
    Position { values: Vec::new(), id: Id::from_u128(1) }
}

/// All pages from the first to the last; `between` may change the documents before each.
fn walk(docs: &mut Vec<Doc>, query: &Query, mut between: impl FnMut(&mut Vec<Doc>)) -> Vec<Id> {
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let after = token.as_ref().map(|token| tokens(query).open(token).unwrap());
        let page = naive::page(docs, query, after.as_ref());
        assert!(page.ids.len() <= query.page_limit());
        assert!(page.next.is_none() || page.ids.len() == query.page_limit());
        found.extend(page.ids);
        let Some(next) = page.next else {
            return found;
        };
        token = Some(tokens(query).seal(&next));
        between(docs);
    }
}

proptest! {
    #[test]
    fn pages_are_the_whole(mut docs in docs(40), mut query in list_query(), limit in 1..5_u32) {
        query.limit = limit;
        let all: Vec<_> = naive::all(&docs, &query).iter().map(|position| position.id).collect();
        prop_assert_eq!(naive::page(&docs, &query, None).total, all.len());
        prop_assert_eq!(walk(&mut docs, &query, |_| {}), all);
    }

    /// What is there throughout is returned exactly once, whatever comes and goes.
    #[test]
    fn pages_hold_while_documents_change(
        stay in docs(20),
        changing in docs(20),
        mut query in list_query(),
        toggles in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        query.limit = 2;
        let staying: BTreeSet<_> = stay.iter().map(|doc| doc.id).collect();
        let changing: Vec<_> =
            changing.into_iter().filter(|doc| !staying.contains(&doc.id)).collect();
        let expected: Vec<_> = naive::all(&stay, &query).iter().map(|p| p.id).collect();
        let mut docs = stay;
        let mut toggles = toggles.iter().cycle().take(100);
        let found = walk(&mut docs, &query, |docs| {
            if let (Some(at), false) = (toggles.next(), changing.is_empty()) {
                let doc = &changing[at.index(changing.len())];
                match docs.iter().position(|other| other.id == doc.id) {
                    Some(at) => { docs.swap_remove(at); }
                    None => docs.push(doc.clone()),
                }
            }
        });
        let found: Vec<_> = found.into_iter().filter(|id| staying.contains(id)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn tokens_read_back(docs in docs(10), query in list_query()) {
        for position in naive::all(&docs, &query) {
            let token = tokens(&query).seal(&position);
            prop_assert_eq!(tokens(&query).open(&token), Ok(position));
        }
    }

    #[test]
    fn altered_tokens_are_refused(at in any::<prop::sample::Index>(), with in any::<char>()) {
        let query = Query::default();
        let token = tokens(&query).seal(&position());
        let mut altered: Vec<char> = token.chars().collect();
        let at = at.index(altered.len());
        altered[at] = with;
        let altered: String = altered.into_iter().collect();
        prop_assert_eq!(tokens(&query).open(&altered).is_ok(), altered == token);
    }

    #[test]
    fn other_text_is_refused(text in any::<String>(), tail in "[A-Za-z0-9_-]{0,60}") {
        let query = Query::default();
        prop_assert!(tokens(&query).open(&text).is_err());
        prop_assert!(tokens(&query).open(&tail).is_err());
    }
}

#[test]
fn tokens_belong_to_their_query() {
    let query: Query = "a = 1 order by b limit 5".parse().unwrap();
    let position = Position { values: vec![None], id: Id::from_u128(1) };
    let token = tokens(&query).seal(&position);
    let open = |text: &str| tokens(&text.parse().unwrap()).open(&token);
    assert_eq!(open("a = 1 order by b limit 7 count explain"), Ok(position));
    assert_eq!(open("a = 2 order by b limit 5"), Err(PageTokenError::Mismatch));
    assert_eq!(open("a = 1u8 order by b limit 5"), Err(PageTokenError::Mismatch));
    assert_eq!(open("a = 1 order by b desc limit 5"), Err(PageTokenError::Mismatch));
    assert_eq!(open("a = 1 key_count 1 order by b limit 5"), Err(PageTokenError::Mismatch));
    let shuffled: Query = "a = 1 and (b = 2 or c = 3)".parse().unwrap();
    let token_of_shuffled = tokens(&shuffled).seal(&self::position());
    let shuffled: Query = "(c = 3 or b = 2) and a = 1".parse().unwrap();
    assert!(tokens(&shuffled).open(&token_of_shuffled).is_ok());
    let with_token = Query { page_token: Some(token.clone()), ..query.clone() };
    assert!(tokens(&with_token).open(&token).is_ok());
    let elsewhere = PageTokens::new(&SECRET, b"counters", &query);
    assert_eq!(elsewhere.open(&token), Err(PageTokenError::Mismatch));
    let other_secret = PageTokens::new(&[8; 32], b"locks", &query);
    assert_eq!(other_secret.open(&token), Err(PageTokenError::Mac));
}

#[test]
fn other_versions_and_cut_tokens() {
    let query = Query::default();
    let token = tokens(&query).seal(&position());
    let other = format!("B{}", &token[1..]);
    assert_eq!(tokens(&query).open(&other), Err(PageTokenError::Version));
    for len in 0..token.len() {
        assert!(tokens(&query).open(&token[..len]).is_err());
    }
    assert_eq!(tokens(&query).open(""), Err(PageTokenError::Malformed));
    assert_eq!(tokens(&query).open("not base64!"), Err(PageTokenError::Malformed));
    assert_eq!(tokens(&query).open(&"A".repeat(1 << 20)), Err(PageTokenError::Malformed));
}

/// Tokens outlive an upgrade, so what they are made of must not change.
#[test]
fn tokens_are_fixed() {
    let query: Query = "os = \"linux\" order by cpu".parse().unwrap();
    let position = Position { values: vec![Some(vec![0x10, 1].into())], id: Id::from_u128(7) };
    let token = tokens(&query).seal(&position);
    expect!["AbkHyNgrA_pOOCGu-vfA4pIBAQIQAQAAAAAAAAAAAAAAAAAAAAeLaRMpvZr2pi391xQsC2Ck"].assert_eq(&token);
}

#[test]
fn the_largest_token_fits() {
    let order: Vec<_> = (0..8).map(|n| format!("k{n}")).collect();
    let query: Query = format!("order by {}", order.join(", ")).parse().unwrap();
    let mut value = vec![0x80];
    value.extend([b'x'; 4096]);
    let values = vec![Some(value.into_boxed_slice()); 8];
    let position = Position { values, id: Id::from_u128(1) };
    assert_eq!(tokens(&query).open(&tokens(&query).seal(&position)), Ok(position));
}

#[test]
fn order() {
    let doc = |n: u128, text: &str| {
        let pairs = willow_model::KeyValues::parse(willow_model::Origin::Pattern, text).unwrap();
        Doc::new(Id::from_u128(n), pairs)
    };
    let docs = [doc(1, "x=1 a=2"), doc(2, "x=1 a:u8=2"), doc(3, "x=1"), doc(4, "x=1 a=b"), doc(5, "x=1 a=1")];
    let order = |text: &str| {
        let positions = naive::all(&docs, &text.parse().unwrap());
        positions.iter().map(|p| p.id.to_u128().to_string()).collect::<String>()
    };
    assert_eq!(order(""), "12345");
    assert_eq!(order("order by a"), "52143");
    assert_eq!(order("order by a desc"), "41253");
    assert_eq!(order("order by a missing first"), "35214");
    assert_eq!(order("order by a desc missing first"), "34125");
    assert_eq!(order("order by a missing exclude"), "5214");
    assert_eq!(order("order by x, a desc"), "41253");
    assert_eq!(order("order by nothing"), "12345");
}

#[test]
fn round_robin_wraps_once() {
    let pairs = willow_model::KeyValues::user([("a", 1_i64)]).unwrap();
    let docs: Vec<_> = (1..4).map(|n| Doc::new(Id::from_u128(n), pairs.clone())).collect();
    let next =
        |text: &str, cursor: u128| naive::round_robin(&docs, &text.parse().unwrap(), Some(Id::from_u128(cursor)));
    assert_eq!(next("", 0), Some(Id::from_u128(1)));
    assert_eq!(next("", 1), Some(Id::from_u128(2)));
    assert_eq!(next("", 3), Some(Id::from_u128(1)));
    assert_eq!(next("a = 2", 1), None);
}
