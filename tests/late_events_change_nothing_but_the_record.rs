//! The newest event decides the state of an alert, whatever the order in which events arrive and however
//! often.

use candor::alert::order::{EventTime, LastEvent};
use candor::alert::source::{self, Request};
use candor::base::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Answer, Env, TestApp, on_both_databases};

on_both_databases!(
    every_order_of_a_senders_events_ends_in_the_newest_state,
    an_older_alarm_of_cloudwatch_opens_nothing,
    a_message_is_taken_once,
    a_late_acknowledgement_does_not_fire_again,
    one_problem_with_two_keys_is_one_alert,
);

const START: i64 = 1_710_399_000;

/// Returns `2024-03-14T06:50:00.000Z` plus this number of seconds.
fn at(seconds: i64) -> String {
    Timestamp::from_micros((START + seconds) * 1_000_000).to_string()
}

/// A sender with event times: its source, and its body about one problem that began at `began`, in its state
/// at `now`.
type Sender = (&'static str, fn(firing: bool, began: i64, now: i64) -> Value);

const SENDERS: [Sender; 17] = [
    ("alertmanager", |firing, began, now| {
        json!({"version": "4", "groupKey": "g", "status": "firing", "alerts": [{
            "status": if firing { "firing" } else { "resolved" }, "fingerprint": "f", "labels": {"alertname": "A"},
            "startsAt": at(began), "endsAt": if firing { "0001-01-01T00:00:00Z".to_owned() } else { at(now) }}]})
    }),
    ("grafana", |firing, began, now| {
        json!({"version": "1", "status": "firing", "alerts": [{
            "status": if firing { "firing" } else { "resolved" }, "fingerprint": "f", "labels": {"alertname": "A"},
            "startsAt": at(began), "endsAt": if firing { "0001-01-01T00:00:00Z".to_owned() } else { at(now) }}]})
    }),
    ("aws_cloudwatch", |firing, _, now| {
        json!({"AlarmName": "a", "AlarmArn": "arn:a", "NewStateValue": if firing { "ALARM" } else { "OK" },
            "StateChangeTime": at(now).replace('Z', "+0000")})
    }),
    ("azure_monitor", |firing, _, now| {
        json!({"data": {"status": if firing { "Activated" } else { "Deactivated" },
            "context": {"id": "rule", "name": "CPU", "timestamp": at(now)}}})
    }),
    ("cloudevents", |firing, _, now| {
        json!({"specversion": "1.0", "id": format!("{firing}{now}"), "source": "/s", "type": "t", "time": at(now),
            "data": {"title": "T", "fingerprint": "f", "status": if firing { "firing" } else { "resolved" }}})
    }),
    ("datadog", |firing, _, now| {
        json!({"title": "CPU", "alert_id": "7", "alert_transition": if firing { "Triggered" } else { "Recovered" },
            "date": ((START + now) * 1_000).to_string()})
    }),
    ("freshping", |firing, _, now| {
        json!({"webhook_event_data": {"check_id": 1, "check_state_name": if firing { "Not Responding" } else { "Available" },
            "request_start_time": at(now)}})
    }),
    ("generic", |firing, began, now| {
        json!({"title": "T", "fingerprint": "f", "status": if firing { "firing" } else { "resolved" },
            "started_at": at(began), "ended_at": if firing { Value::Null } else { json!(at(now)) }})
    }),
    (
        "healthchecks",
        |firing, _, now| json!({"code": "c", "name": "n", "status": if firing { "down" } else { "up" }, "now": at(now)}),
    ),
    ("nagios", |firing, _, now| {
        json!({"HOSTNAME": "h", "SERVICEDESC": "s", "SERVICESTATE": if firing { "CRITICAL" } else { "OK" },
            "TIMET": (START + now).to_string()})
    }),
    ("new_relic", |firing, _, now| {
        json!({"incident_id": 5, "current_state": if firing { "open" } else { "closed" },
            "timestamp": (START + now) * 1_000})
    }),
    ("opsgenie", |firing, began, now| {
        json!({"action": if firing { "Acknowledge" } else { "Close" }, "alert": {"alertId": "i", "alias": "x", "message": "M",
            "createdAt": (START + began) * 1_000, "updatedAt": (START + now) * 1_000_000_000}})
    }),
    ("pagerduty", |firing, began, now| {
        json!({"event": {"id": format!("{firing}{now}"), "event_type": if firing { "incident.triggered" } else { "incident.resolved" },
            "occurred_at": at(now), "data": {"type": "incident", "id": "P", "title": "T", "created_at": at(began),
            "status": if firing { "triggered" } else { "resolved" }}}})
    }),
    ("pingdom", |firing, _, now| {
        json!({"check_id": 1, "check_name": "c", "current_state": if firing { "DOWN" } else { "UP" },
            "state_changed_timestamp": START + now})
    }),
    ("statuspage", |firing, _, now| {
        json!({"page": {"id": "p"}, "component": {"id": "c", "name": "API", "status": "x"}, "component_update":
            {"created_at": at(now), "new_status": if firing { "major_outage" } else { "operational" }}})
    }),
    ("uptime_kuma", |firing, _, now| {
        json!({"heartbeat": {"status": i32::from(!firing), "time": at(now).replace('T', " ").replace('Z', "")},
            "monitor": {"id": 1, "name": "m"}, "msg": "m"})
    }),
    ("uptimerobot", |firing, _, now| {
        json!({"monitorID": 1, "monitorFriendlyName": "m", "alertType": if firing { 1 } else { 2 },
            "alertDateTime": START + now})
    }),
];

/// The events of a problem: whether it fires from then on, when that occurrence began, and the time of the
/// event.
const STORY: [(bool, i64, i64); 4] = [(true, 0, 0), (false, 0, 60), (true, 120, 120), (false, 120, 180)];

/// Returns all orders of this number of items.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in orders(count - 1) {
        for place in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(place, count - 1);
            all.push(longer);
        }
    }
    all
}

/// Returns the state of an alert after these events, computed by the pure state machine.
fn stands(events: &[(bool, Option<EventTime>)]) -> LastEvent {
    let now = Timestamp::from_micros((START + 200) * 1_000_000);
    events.iter().fold(LastEvent::default(), |last, (firing, event)| {
        if last.makes_late(*firing, *event, now) {
            last
        } else {
            last.after(*firing, *event, now)
        }
    })
}

#[test]
fn every_senders_events_in_every_order_and_twice_end_in_the_newest_state() {
    for (name, body) in SENDERS {
        for newest in 1..=STORY.len() {
            let events: Vec<(bool, Option<EventTime>)> = STORY[..newest]
                .iter()
                .map(|(firing, began, now)| {
                    let request = Request::json(body(*firing, *began, *now).to_string());
                    let batch = source::parse(name, None, &request)
                        .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
                    assert_eq!(batch.alerts.len(), 1, "{name}: {batch:?}");
                    assert_eq!(batch.alerts[0].firing, *firing, "{name}");
                    assert!(
                        batch.alerts[0].event_at.is_some(),
                        "{name}: no time of the event in {batch:?}"
                    );
                    (batch.alerts[0].firing, batch.alerts[0].event_at)
                })
                .collect();
            for order in orders(newest) {
                let once: Vec<_> = order.iter().map(|index| events[*index]).collect();
                for again in 0..newest {
                    let mut twice = once.clone();
                    twice.push(once[again]);
                    assert_eq!(
                        stands(&twice).firing,
                        STORY[newest - 1].0,
                        "{name}: {order:?}, and {again} again"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_events_in_any_order_end_in_the_state_of_the_newest(
        (events, order) in prop::collection::vec((any::<bool>(), 0..40_i64), 1..12)
            .prop_flat_map(|events| {
                let indexes: Vec<usize> = (0..events.len()).chain(0..events.len()).collect();
                (Just(events), Just(indexes).prop_shuffle())
            })
    ) {
        let sent: Vec<(bool, Option<EventTime>)> = events
            .iter()
            .map(|(firing, at)| {
                let at = Timestamp::from_micros((START + at) * 1_000_000);
                (*firing, Some(EventTime::change(at)))
            })
            .collect();
        let arrived: Vec<_> = order.iter().map(|index| sent[*index]).collect();
        // If both have the same time, the resolved event counts.
        let newest = events.iter().max_by_key(|(firing, at)| (*at, !firing)).expect("an event");
        prop_assert_eq!(stands(&arrived).firing, newest.0);
    }
}

#[test]
fn a_clock_that_is_ahead_blocks_nothing_for_ever() {
    let time = |seconds: i64| Timestamp::from_micros((START + seconds) * 1_000_000);
    let event = |seconds: i64| Some(EventTime::change(time(seconds)));
    // The resolved event came from a clock that was a day ahead.
    let day = 86_400;
    let ended = LastEvent::default().after(false, event(day), time(0));
    assert!(
        ended.makes_late(true, event(day - 60), time(1)),
        "by the same clock it is older"
    );
    assert!(
        ended.makes_late(true, event(-60), time(1)),
        "it is from before the end came"
    );
    assert!(
        !ended.makes_late(true, event(60), time(61)),
        "the clock was set right"
    );
    // A firing event that is older than the resolved one is accepted after an hour, because the problem may
    // have returned.
    let ended = LastEvent::default().after(false, event(60), time(60));
    let began = Some(EventTime::beginning(time(0)));
    assert!(ended.makes_late(true, began, time(120)));
    assert!(!ended.makes_late(true, began, time(60 + 3_601)));
    assert!(
        ended.makes_late(true, event(0), time(60 + 3_601)),
        "a change of state has its own time"
    );
    // Without a time, the order of arrival decides.
    let ended = ended.after(false, None, time(100));
    assert!(!ended.makes_late(true, None, time(101)));
    assert!(ended.makes_late(true, event(59), time(101)));
}

async fn hook(app: &TestApp, source: &str) -> (String, String) {
    let made = app
        .post("/api/v1/integrations", json!({"name": source, "source": source}))
        .await
        .expect(201);
    (made.id(), made["hook_url"].as_str().expect("a URL").to_owned())
}

async fn post(app: &TestApp, hook: &str, body: &Value) -> Answer {
    app.anonymous().post(hook, body).await.expect(202)
}

fn opened(answer: &Answer) -> usize {
    ["opened", "reopened"]
        .iter()
        .map(|name| answer[*name].as_array().expect("a list").len())
        .sum()
}

#[track_caller]
fn reasons(answer: &Answer) -> Vec<String> {
    let recorded = answer["recorded"].as_array().expect("a list");
    recorded
        .iter()
        .map(|one| one["reason"].as_str().expect("a reason").to_owned())
        .collect()
}

async fn every_order_of_a_senders_events_ends_in_the_newest_state(env: Env) {
    let app = TestApp::builder(&env).at(&at(200)).start().await;
    for (name, body) in SENDERS.iter().step_by(3) {
        for order in orders(3) {
            let (id, hook) = hook(&app, name).await;
            let mut incidents = 0;
            for index in order.iter().chain(order.first()) {
                let (firing, began, now) = STORY[*index];
                incidents += opened(&post(&app, &hook, &body(firing, began, now)).await);
            }
            let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
            assert_eq!(alerts[0]["status"], "firing", "{name}: {order:?}: {alerts:?}");
            assert_eq!(incidents, 1, "{name}: {order:?}");
        }
    }
    // The same with a resolved event as the newest.
    for (name, body) in SENDERS.iter().skip(1).step_by(4) {
        for order in orders(2) {
            let (id, hook) = hook(&app, name).await;
            for index in order.iter().chain(&order) {
                let (firing, began, now) = STORY[*index];
                post(&app, &hook, &body(firing, began, now)).await;
            }
            let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
            let [only] = &alerts[..] else {
                panic!("{name}: {order:?}: one alert, and not {alerts:?}")
            };
            assert_eq!(only["status"], "resolved", "{name}: {order:?}");
            assert!(
                only["late_events"].as_i64().is_some_and(|late| late > 0),
                "{only}"
            );
        }
    }
    app.finish().await;
}

async fn an_older_alarm_of_cloudwatch_opens_nothing(env: Env) {
    let app = TestApp::builder(&env).at(&at(200)).start().await;
    let (id, hook) = hook(&app, "aws_sns").await;
    let (_, body) = SENDERS[2];
    // The resolved event arrives first, and the alarm arrives a minute later.
    assert_eq!(opened(&post(&app, &hook, &body(false, 0, 60)).await), 0);
    let late = post(&app, &hook, &body(true, 0, 0)).await;
    assert_eq!((opened(&late), reasons(&late)), (0, vec!["late".to_owned()]));
    assert_eq!(env.count("incidents"), 0);
    // The request is saved with its result, and the trail contains it too.
    let kept = app
        .get(&format!("/api/v1/integrations/{id}/bodies"))
        .await
        .expect(200);
    let detail = kept.items()[0]["detail"].as_str().expect("a detail").to_owned();
    let (event, known) = (at(0).replace(".000Z", "Z"), at(60).replace(".000Z", "Z"));
    for words in [
        format!("this event from {event} says \u{201c}firing\u{201d}"),
        format!("is older than the known state of the alert from {known}"),
        "so it changed nothing".to_owned(),
    ] {
        assert!(detail.contains(&words), "{words}: {detail}");
    }
    assert_eq!(app.all("/api/v1/audit?action=hook.ignored").await.len(), 1);
    // A test of the request shows the same result.
    let tried = app
        .post(
            &format!("/api/v1/integrations/{id}/try"),
            json!({"body": body(true, 0, 30)}),
        )
        .await
        .expect(200);
    assert_eq!(tried["alerts"][0]["would"]["happens"], "nothing");
    assert_eq!(tried["alerts"][0]["recorded"], "late");
    // A newer alarm counts.
    assert_eq!(opened(&post(&app, &hook, &body(true, 0, 90)).await), 1);
    app.finish().await;
}

async fn a_message_is_taken_once(env: Env) {
    let mut app = TestApp::builder(&env).at(&at(200)).start().await;
    let (id, hook) = hook(&app, "aws_sns").await;
    let path = format!("/hooks/{}", hook.rsplit('/').next().expect("a token"));
    let message = |id: &str, firing: bool| {
        let alarm = json!({"AlarmName": "a", "NewStateValue": if firing { "ALARM" } else { "OK" }});
        json!({"Type": "Notification", "MessageId": id, "TopicArn": "arn:t", "Message": alarm.to_string()})
    };
    let first = post(&app, &path, &message("m-1", true)).await;
    assert_eq!(opened(&first), 1);
    let incident = first["opened"][0]["id"].as_str().expect("an id").to_owned();
    post(&app, &path, &message("m-2", false)).await;
    app.post(
        &format!("/api/v1/incidents/{incident}/status"),
        json!({"status": "resolved"}),
    )
    .await
    .expect(200);
    // This alarm has no time. Its message is still recognised, even after a restart.
    for restart in [false, true] {
        if restart {
            app.restart().await;
        }
        let again = post(&app, &path, &message("m-1", true)).await;
        assert_eq!(
            (opened(&again), reasons(&again)),
            (0, vec!["repeated_message".to_owned()])
        );
    }
    let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
    assert_eq!((alerts.len(), &alerts[0]["status"]), (1, &json!("resolved")));
    // Another message is another event, and so is the same ID of another integration.
    assert_eq!(opened(&post(&app, &path, &message("m-3", true)).await), 1);
    let other = self::hook(&app, "aws_sns").await.1;
    assert_eq!(opened(&post(&app, &other, &message("m-1", true)).await), 1);
    // Standard Webhooks from any sender: a message with several alerts is one message.
    let generic = self::hook(&app, "generic").await.1;
    for (n, expected) in [1, 0, 0].into_iter().enumerate() {
        let answer = app
            .anonymous()
            .request(reqwest::Method::POST, &generic)
            .header("webhook-id", "msg_1")
            .json(json!({"title": format!("T{n}")}))
            .send()
            .await
            .expect(202);
        assert_eq!(opened(&answer), expected, "{answer}");
    }
    app.finish().await;
}

async fn a_late_acknowledgement_does_not_fire_again(env: Env) {
    let app = TestApp::builder(&env).at(&at(200)).start().await;
    let (_, hook) = hook(&app, "pagerduty").await;
    let event = |kind: &str, status: &str, seconds: i64| {
        json!({"event": {"id": format!("{kind}{seconds}"), "event_type": format!("incident.{kind}"), "occurred_at": at(seconds),
            "data": {"type": "incident", "id": "P1", "title": "T", "status": status, "created_at": at(0)}}})
    };
    let first = post(&app, &hook, &event("triggered", "triggered", 0)).await;
    let incident = first["opened"][0]["id"].as_str().expect("an id").to_owned();
    post(&app, &hook, &event("resolved", "resolved", 60)).await;
    let late = post(&app, &hook, &event("acknowledged", "acknowledged", 30)).await;
    assert_eq!((opened(&late), reasons(&late)), (0, vec!["late".to_owned()]));
    let shown = app
        .get(&format!("/api/v1/incidents/{incident}"))
        .await
        .expect(200);
    assert_eq!(shown["status"], "monitoring");
    // An event after the end counts.
    let again = post(&app, &hook, &event("reopened", "triggered", 90)).await;
    assert_eq!(again["attached"][0]["id"], incident.as_str());
    app.finish().await;
}

async fn one_problem_with_two_keys_is_one_alert(env: Env) {
    let app = TestApp::builder(&env).at(&at(200)).start().await;
    let body = |action: &str, alias: Option<&str>, seconds: i64| {
        let mut alert =
            json!({"alertId": "a-1", "message": "Disk", "updatedAt": (START + seconds) * 1_000_000_000});
        if let Some(alias) = alias {
            alert["alias"] = json!(alias);
        }
        json!({"action": action, "alert": alert})
    };
    // The resolved event has only the ID, and the firing one has both keys.
    let (id, hook) = self::hook(&app, "opsgenie").await;
    assert_eq!(
        opened(&post(&app, &hook, &body("Create", Some("disk"), 0)).await),
        1
    );
    post(&app, &hook, &body("Acknowledge", None, 10)).await;
    post(&app, &hook, &body("Close", None, 60)).await;
    let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
    let [only] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!(
        (&only["fingerprint"], &only["status"]),
        (&json!("disk"), &json!("resolved"))
    );
    // The same in the other order.
    let (id, hook) = self::hook(&app, "opsgenie").await;
    post(&app, &hook, &body("Close", None, 60)).await;
    assert_eq!(
        opened(&post(&app, &hook, &body("Create", Some("disk"), 0)).await),
        0
    );
    let alerts = app.all(&format!("/api/v1/alerts?integration={id}")).await;
    assert_eq!((alerts.len(), &alerts[0]["status"]), (1, &json!("resolved")));
    app.finish().await;
}
