//! The routes of the do-not-call list. Numbers come and go in bodies; what is wrong with one is told by its place.

use headroom::core::ids::PhoneNumber;
use headroom::core::people::{ListChange, ListWish};
use lambda_http::Request;
use lambda_http::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Console, Refusal, asked};

/// The path of the do-not-call list.
pub const DO_NOT_CALL: &str = "/do-not-call";
/// Numbers in one request, and on one page: two writes each, within the function's time.
const MOST_NUMBERS: usize = 1_000;
/// Changes that are told.
const CHANGES: i32 = 50;

/// What a path under `/do-not-call` speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// Its changes; more people on it.
    Itself,
    /// Fewer people on it.
    Remove,
    /// Whether people are on it.
    Check,
    /// Who is on it.
    Pages,
}

impl List {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path.strip_prefix(DO_NOT_CALL)? {
            "" => Some(Self::Itself),
            "/remove" => Some(Self::Remove),
            "/check" => Some(Self::Check),
            "/list" => Some(Self::Pages),
            _ => None,
        }
    }

    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Itself => &[Method::GET, Method::POST],
            Self::Remove | Self::Check | Self::Pages => &[Method::POST],
        }
    }
}

impl Console {
    /// Answers a request about the do-not-call list.
    pub(crate) async fn do_not_call(&self, list: List, request: &Request) -> Result<Value, Refusal> {
        match list {
            List::Itself if *request.method() == Method::GET => self.list_changes().await,
            List::Itself => self.change_list(ListWish::Add, request).await,
            List::Remove => self.change_list(ListWish::Remove, request).await,
            List::Check => self.check(request).await,
            List::Pages => self.page(request).await,
        }
    }

    async fn list_changes(&self) -> Result<Value, Refusal> {
        let changes = self.app.table.list_list_changes(CHANGES).await?;
        let shown = |change: &ListChange| {
            let ListChange { at, by, wish, named, changed } = change;
            json!({ "at": at, "by": by, "what": wish.name(), "named": named, "changed": changed })
        };
        Ok(json!({ "changes": changes.iter().map(shown).collect::<Vec<_>>() }))
    }

    async fn change_list(&self, wish: ListWish, request: &Request) -> Result<Value, Refusal> {
        let by = asked::by(request.headers())?;
        let Numbers { good, bad } = numbers(request.body())?;
        let changed = if good.is_empty() { 0 } else { self.app.change_refused(wish, &good, by).await? };
        Ok(json!({ "changed": changed, "unchanged": good.len() - changed as usize, "refused": bad }))
    }

    async fn check(&self, request: &Request) -> Result<Value, Refusal> {
        let Numbers { good, bad } = numbers(request.body())?;
        if let Some(bad) = bad.first() {
            return Err(
                format!("numbers[{}]: {}", bad["index"], bad["reason"].as_str().unwrap_or_default()).into()
            );
        }
        let said = self.app.who_refused(&good).await?;
        let shown = said.into_iter().map(|refused| match refused {
            Some(refused) => json!({ "listed": true, "since": refused.at, "by": refused.by }),
            None => json!({ "listed": false }),
        });
        Ok(json!({ "people": shown.collect::<Vec<_>>() }))
    }

    async fn page(&self, request: &Request) -> Result<Value, Refusal> {
        let (after, most) = page(request.body())?;
        let people = self.app.table.list_refused(after.as_ref(), most).await?;
        let next = people.last().filter(|_| people.len() as i32 == most).map(|(number, _)| number.reveal());
        let shown = people.iter().map(
            |(number, refused)| json!({ "number": number.reveal(), "since": refused.at, "by": refused.by }),
        );
        Ok(json!({ "people": shown.collect::<Vec<_>>(), "next": next }))
    }
}

/// The numbers of a body.
#[derive(Debug, PartialEq)]
struct Numbers {
    good: Vec<PhoneNumber>,
    /// What is wrong with the others, by their places.
    bad: Vec<Value>,
}

/// Reads `{"numbers": […]}`.
fn numbers(body: &[u8]) -> Result<Numbers, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        // What stands here may be anything, and no error shows it.
        numbers: Vec<Value>,
    }
    const EXAMPLE: &str = r#"send {"numbers": ["+14155550100"]}"#;
    let Body { numbers } = quietly(body, EXAMPLE)?;
    if numbers.is_empty() || numbers.len() > MOST_NUMBERS {
        return Err(format!("numbers: 1 to {MOST_NUMBERS} of them; {EXAMPLE}"));
    }
    let mut read = Numbers { good: Vec::new(), bad: Vec::new() };
    for (index, number) in numbers.iter().enumerate() {
        match number.as_str().map(str::parse::<PhoneNumber>) {
            Some(Ok(number)) => read.good.push(number),
            Some(Err(error)) => read.bad.push(json!({ "index": index, "reason": error.to_string() })),
            None => read.bad.push(json!({ "index": index, "reason": "number is not text" })),
        }
    }
    Ok(read)
}

/// Which page: the body of `POST /do-not-call/list`.
fn page(body: &[u8]) -> Result<(Option<PhoneNumber>, i32), String> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        after: Option<Value>,
        limit: Option<Value>,
    }
    const EXAMPLE: &str = r#"send nothing, or {"after": NUMBER, "limit": 1000}"#;
    let is_empty = body.trim_ascii().is_empty();
    let Body { after, limit } = if is_empty { Body::default() } else { quietly(body, EXAMPLE)? };
    let after = after.map(|after| {
        after.as_str().and_then(|after| after.parse().ok()).ok_or("after: take it from the page before")
    });
    let most = limit.map_or(Some(MOST_NUMBERS as u64), |limit| limit.as_u64());
    let most = most.filter(|most| (1..=MOST_NUMBERS as u64).contains(most));
    let most = most.ok_or_else(|| format!("limit: a number from 1 to {MOST_NUMBERS}"))?;
    Ok((after.transpose()?, i32::try_from(most).expect("a thousand at most")))
}

/// A body that is a JSON object. What is wrong with it is not told in the parser's words, which show what was sent.
fn quietly<T: serde::de::DeserializeOwned>(body: &[u8], example: &str) -> Result<T, String> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let read = serde_json::from_slice(body).ok().filter(|_| is_object);
    read.ok_or_else(|| format!("the body cannot be used; {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked() {
        for (path, list) in [
            ("/do-not-call", Some(List::Itself)),
            ("/do-not-call/remove", Some(List::Remove)),
            ("/do-not-call/check", Some(List::Check)),
            ("/do-not-call/list", Some(List::Pages)),
            ("/do-not-call/", None),
            ("/do-not-call/+14155550100", None),
            ("/do-not-calls", None),
        ] {
            assert_eq!(List::of(path), list, "{path}");
        }
    }

    #[test]
    fn bad_numbers_are_told_by_their_places_and_shown_by_nothing() {
        let read = numbers(br#"{"numbers":["+14155550100","4155550101",4155550102,"+14155550103"]}"#);
        let Numbers { good, bad } = read.expect("a list");
        assert_eq!(good.len(), 2);
        assert_eq!(bad.iter().map(|bad| bad["index"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert!(!json!(bad).to_string().contains("415555"));
        let many = format!(r#"{{"numbers":[{}"+14155550100"]}}"#, r#""+14155550100","#.repeat(1000));
        for body in [
            "",
            "[]",
            "{}",
            r#"{"numbers":[]}"#,
            r#"{"numbers":"+14155550100"}"#,
            r#"{"+14155550100":1}"#,
            r#"{"numbers":["+14155550100"],"+14155550100":1}"#,
            &many,
        ] {
            let error = numbers(body.as_bytes()).expect_err(body).replace(r#""+14155550100""#, "");
            assert!(!error.contains("415555"), "{error}");
        }
    }

    #[test]
    fn pages_are_asked_for_by_what_the_one_before_said() {
        assert_eq!(page(b""), Ok((None, 1000)));
        let after = "+14155550100".parse().expect("a number");
        assert_eq!(page(br#"{"after":"+14155550100","limit":2}"#), Ok((Some(after), 2)));
        for body in [
            r#"{"after":"x"}"#,
            r#"{"after":1}"#,
            r#"{"limit":0}"#,
            r#"{"limit":1001}"#,
            r#"{"page":2}"#,
            "[]",
        ] {
            assert!(page(body.as_bytes()).is_err(), "{body}");
        }
    }
}
