//! `headroom why` as operators type it: the README's example, and what it says of calls and leads as they go on.

use serde_json::{Value, json};

use crate::lines::start;
use crate::server::{SECRET, Server};

impl Server {
    /// A caller on a bare number is to be answered; what Vapi is told.
    async fn asks(&self, id: &str) -> Value {
        let call = json!({ "id": id, "type": "inboundPhoneCall", "phoneNumberId": "number-in" });
        let message = json!({ "message": { "type": "assistant-request", "call": call } });
        let post = self.http.post(format!("{}/vapi", self.url)).header("x-vapi-secret", SECRET);
        post.body(message.to_string()).send().await.expect("an answer").json().await.expect("JSON")
    }

    fn explains(&self, id: &str, expected: &str) {
        let (done, text) = self.typed(&format!("why {id}"));
        assert!(done, "{text}");
        assert_eq!(without_times(&text), expected, "headroom why {id}");
    }
}

/// Each `2026-05-01 10:00:00` as a dash.
fn without_times(text: &str) -> String {
    const SHAPE: &str = "0000-00-00 00:00:00";
    let is_time = |piece: &str| {
        piece.chars().zip(SHAPE.chars()).all(|(c, shape)| c == shape || (shape == '0' && c.is_ascii_digit()))
    };
    let mut shown = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_found = rest.get(..SHAPE.len()).is_some_and(is_time);
        shown.push(if is_found { '-' } else { c });
        rest = &rest[if is_found { SHAPE.len() } else { c.len_utf8() }..];
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_and_a_wait_are_explained_as_typed() {
    let (sim, server) = start(4).await;
    server.typed("reserve sales outbound=1 --member assistant-sales");
    server.typed("reserve support inbound=1 --member assistant-in");
    for id in 0..2 {
        server.call(id, "inboundPhoneCall", "assistant-x", "in-progress").await;
    }
    server.call(2, "inboundPhoneCall", "assistant-in", "in-progress").await;
    // One line is free, and reserved for the calls of sales.
    let late = "019d2ad0-6eb1-7aac-9377-0000000000ff";
    assert!(server.asks(late).await["error"].is_string());
    server.explains(
        late,
        "\
An inbound call for support, refused at - UTC: the agent's own reserve and the shared lines were full (rule shared). The caller heard the busy message.

3 of 4 lines were held, 0 by outbound; 2 of 2 shared lines were in use, 2 were reserved; cap 4, headroom 0

  held  kind     agent    for      longest
     2  inbound  Ric      callers  < 1 min
     1  inbound  support  callers  < 1 min

A line was expected at - UTC, by - UTC at the latest (taking two minutes for a call, since no usage is known).
",
    );
    let (done, json) = server.typed(&format!("why {late} --json"));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert!(done);
    let refusal = &json["call"]["refusal"];
    assert_eq!((&refusal["rule"], &refusal["fate"]), (&json!("shared"), &json!("busy")), "{json}");
    assert_eq!(refusal["longest"].as_array().map(Vec::len), Some(3));

    let call = "019d2ad0-6eb1-7aac-9377-000000000002";
    server.explains(call, "It was never refused a line.\nIt holds a line (inbound) since - UTC: < 1 min.\n");
    server.call(2, "inboundPhoneCall", "assistant-in", "ended").await;
    let (_, ended) = server.typed(&format!("why {call}"));
    assert!(ended.contains("It has ended, recorded at"), "{ended}");

    // An agent without a reserve waits for the shared lines.
    let body = json!({
        "campaign": { "id": "renewals/may", "assistantId": "assistant-out", "phoneNumberId": "number-out" },
        "leads": [{ "id": "ada #1", "number": "+15555550101" }, { "number": "+15555550142" }],
    });
    assert_eq!(server.post_campaign(body.to_string()).await.status(), 202);
    server.campaign("renewals/may", |campaign| campaign["leads"]["ready"] == 2).await;
    let lead = "renewals/may/+15555550142";
    let waits = loop {
        let (_, waits) = server.typed(&format!("why {lead}"));
        // The dispatcher is on its way.
        if waits.contains("Refused last") {
            break waits;
        }
    };
    assert_eq!(
        without_times(&waits),
        "\
+…42 of renewals/may waits since - UTC, 0 of 3 attempts made.
There is no line for it: the shared lines are in use, but for the headroom that is left to callers (rule headroom).
One is expected at - UTC, by - UTC at the latest (taking two minutes for a call, since no usage is known).
1 of its campaign come before it.

Refused last at - UTC, < 1 min ago, for < 1 min by then: the shared lines are in use, but for the headroom that is left to callers (rule headroom).

2 of 4 lines were held, 0 by outbound; 2 of 2 shared lines were in use, 2 were reserved; cap 4, headroom 0

  held  kind     agent  for      longest
     2  inbound  Ric    callers  < 1 min

A line was expected at - UTC, by - UTC at the latest (taking two minutes for a call, since no usage is known).
"
    );
    let unknown = "Error: nothing is known of it. Ask with Vapi's id of a call of the last days, or with CAMPAIGN/LEAD \
                   by the ids that the campaign message gave; a lead without an id has its number for one\n";
    server.refuses("why nobody", unknown);
    server.refuses("why renewals/may/nobody", unknown);
    sim.stop();
}
