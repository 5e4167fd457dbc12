//! Every body in `../shared/payloads` of a source of alerts, if that folder exists. The key, state, severity
//! and times of each were read by hand, using the facts next to it. A sample without expectations fails the
//! test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candor::alert::source::{self, Batch, Refusal, Request};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Env, TestApp, on_both_databases};

on_both_databases!(every_sample_comes_through_the_hook);

/// The folders whose samples are listed here. The samples of Alertmanager are in
/// `the_samples_are_understood`.
const FOLDERS: [&str; 22] = [
    "aws_cloudwatch",
    "aws_sns",
    "azure_monitor",
    "betterstack",
    "cloudevents",
    "datadog",
    "freshping",
    "freshstatus",
    "gcp_monitoring",
    "grafana",
    "healthchecks",
    "nagios",
    "new_relic",
    "opsgenie",
    "pagerduty",
    "pingdom",
    "sentry",
    "statuscake",
    "statuspage",
    "updown",
    "uptime_kuma",
    "uptimerobot",
];
const ZABBIX: &str = "zabbix";

/// The expected result of each sample: `STATE|KEY|SEVERITY|STARTED|ENDED` for an alert, `ignored` for
/// something that is not an alert, `refused POINTER`.
const EXPECTED: &[(&str, &[&str])] = &[
    (
        "aws_cloudwatch/powertools_alarm_lambda_action_composite.json",
        &[
            "firing|arn:aws:cloudwatch:us-east-1:111122223333:alarm:SuppressionDemo.Main||2023-08-04T12:56:46.138Z|",
        ],
    ),
    ("aws_sns/alerta_cloudwatch_insufficient_data.json", &["ignored"]),
    (
        "aws_sns/alerta_cloudwatch_subscription_confirmation.json",
        &["ignored"],
    ),
    (
        "aws_sns/cloudforet_cloudwatch_alarm_ec2_cpu.json",
        &["firing|arn:aws:cloudwatch:ap-northeast-2:257706363616:alarm:EC2-CPU||2021-06-23T08:41:06.622Z|"],
    ),
    (
        "aws_sns/cloudforet_health_acm_scheduled_change.json",
        &[
            "firing|arn:aws:health:us-east-1::event/ACM/AWS_ACM_RENEWAL_STATE_CHANGE/AWS_ACM_RENEWAL_STATE_CHANGE-837a9d58-dd89-441a-bee9-fea9425565e2|scheduledchange|2022-04-06T06:00:53Z|",
        ],
    ),
    // A text that is not an alarm does not say whether anything is wrong.
    ("aws_sns/docs_Notification.json", &["refused /Message"]),
    ("aws_sns/docs_SubscriptionConfirmation.json", &["ignored"]),
    (
        "aws_sns/lambda-go_cloudwatch_alarm_single_metric_in_lambda_wrapper.json",
        &["firing|arn:aws:cloudwatch:REGION:ACCOUNT_NUMBER:alarm:EXAMPLE||2015-06-03T17:43:27.123Z|"],
    ),
    (
        "aws_sns/lambda-go_sns_event_lambda_wrapper.json",
        &["refused /Records/0/Sns/Message"],
    ),
    (
        "azure_monitor/alerta-contrib_classic_metric_alert_1_activated.json",
        &[
            "firing|/subscriptions/s1/resourceGroups/useast/providers/microsoft.insights/alertrules/ruleName1||2015-08-14T22:26:41.997539Z|",
        ],
    ),
    (
        "azure_monitor/alerta-contrib_classic_metric_alert_2_activated.json",
        &[
            "firing|/subscriptions/1a66ce04-b633-4a0b-b2bc-a912ec8986a6/resourceGroups/montest/providers/microsoft.insights/alertrules/Alert_1_runscope12||2015-09-18T01:02:35.819099Z|",
        ],
    ),
    (
        "azure_monitor/alerta-contrib_new_metric_alert_3_activated.json",
        &[
            "firing|/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/Contoso/providers/microsoft.insights/metricAlerts/StorageCheck||2018-02-28T10:44:10.171401Z|",
        ],
    ),
    (
        "azure_monitor/alerta-contrib_new_metric_alert_4_deactivated.json",
        &[
            "resolved|/subscriptions/ba364c14-1aa5-484e-8b74-6201540087e1/resourceGroups/Web/providers/microsoft.insights/metricAlerts/Percentage%20CPU%20greater%20than%2070|sev3||2019-02-27T14:10:35.081669Z",
        ],
    ),
    (
        "cloudevents/spec_02_binary_mode.http",
        &["firing|/mycontext A234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_03_data_str.json",
        &["firing|/mycontext B234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_04_binary_mode.http",
        &["firing|/mycontext B234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_05_data_dict.json",
        &["firing|/mycontext C234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_06_binary_mode.http",
        &["firing|/mycontext C234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_08_binary_mode.http",
        &["firing|/mycontext C234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_09_data_str.json",
        &["firing|/mycontext D234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    (
        "cloudevents/spec_10_binary_mode.http",
        &["firing|/mycontext D234-1234-1234||2018-04-05T17:31:00Z|"],
    ),
    // The specification leaves out the data of these events.
    ("cloudevents/spec_15_http_binding.http", &["refused /data"]),
    ("cloudevents/spec_17_http_binding.http", &["refused "]),
    ("cloudevents/spec_20_http_binding.http", &["refused "]),
    (
        "freshping/zulip_freshping_check_reachable.json",
        &["resolved|585767|||2021-04-15T19:57:32.607484Z"],
    ),
    (
        "freshping/zulip_freshping_check_test.json",
        &["resolved|1|||2021-04-15T19:36:31.812658Z"],
    ),
    (
        "freshstatus/zulip_freshstatus_incident_note_created.json",
        &["firing|53482||2021-04-12T16:55:58.66344Z|"],
    ),
    (
        "freshstatus/zulip_freshstatus_incident_open.json",
        &["firing|53481||2021-04-12T16:29:00Z|"],
    ),
    (
        "freshstatus/zulip_freshstatus_invalid_payload_with_missing_data.json",
        &["refused /event_data/event_type"],
    ),
    ("freshstatus/zulip_freshstatus_test.json", &["ignored"]),
    (
        "gcp_monitoring/agilicus_uptime_check_open.json",
        &["firing|0.ligwyr056k2l||2020-01-20T22:30:44Z|"],
    ),
    (
        "gcp_monitoring/alerta_stackdriver_open.json",
        &["firing|f2e08c333dc64cb09f75eaab355393bz||2017-07-06T19:10:14Z|"],
    ),
    (
        "gcp_monitoring/cloudforet_send_test_notification.json",
        &["ignored"],
    ),
    (
        "gcp_monitoring/cloudforet_v1.2_closed.json",
        &["resolved|0.mteuirnn0v0k||2023-02-03T04:20:07Z|2023-02-03T04:27:14Z"],
    ),
    (
        "gcp_monitoring/cloudforet_v1.2_open.json",
        &["firing|0.mtdi83m6w8ao||2023-02-02T05:29:47Z|"],
    ),
    ("grafana/alerta_grafana_6.json", &["firing|58|warning||"]),
    ("grafana/alerta_grafana_alert_alerting.json", &["firing|7|||"]),
    ("grafana/alerta_grafana_alert_ok.json", &["resolved|7|||"]),
    ("grafana/cloudforet_grafana_params3.json", &["resolved|1/92|||"]),
    ("grafana/cloudforet_grafana_params7.json", &["firing|1/81|||"]),
    // Payloads in a custom format.
    ("grafana/cloudforet_grafana_params8.json", &["refused "]),
    (
        "grafana/zulip_alert_test_anomalous_notification.json",
        &["refused "],
    ),
    (
        "grafana/zulip_alert-9-mixed.json",
        &[
            "resolved|aaafafe0953f0962||2022-06-17T01:04:00.782137Z|2022-06-17T01:08:28.652747Z",
            "resolved|fb31814ac93dbe7d||2022-06-17T01:04:00.782137Z|2022-06-17T01:08:28.652747Z",
            "firing|6f9cd313db421ef1||2022-06-17T01:03:00.782137Z|",
        ],
    ),
    // A test that says that all is well does no harm.
    ("grafana/zulip_alert_ok_v7.json", &["resolved|0/0|||"]),
    ("grafana/zulip_alert_paused_v7.json", &["ignored"]),
    (
        "grafana/zulip_alert_v8.json",
        &["resolved|57c6d9296de2ad39||2022-08-31T05:54:04.522893Z|2022-08-31T10:30:00.522884Z"],
    ),
    (
        "grafana/zulip_alert_values_v11.json",
        &["firing|e6349a25f5ef0e9e||2024-03-01T02:09:00Z|"],
    ),
    ("grafana/zulip_no_message_alert_v7.json", &["firing|1/4|||"]),
    ("healthchecks/docs_api_list_11.json", &["refused "]),
    (
        "nagios/keep_checkmk_host_recovery.json",
        &["resolved|server1|up||2024-10-26T23:20:39Z"],
    ),
    ("new_relic/alerta_new_relic_notification.json", &["ignored"]),
    (
        "new_relic/zulip_incident_acknowledged_new.json",
        &["firing|3576f543-dc3c-4d97-9f16-5c81f35195cb||2020-11-11T22:32:11.151Z|"],
    ),
    (
        "new_relic/zulip_incident_closed_new.json",
        &["resolved|f0d98b28-bf9d-49e7-b9d0-ac7cbb52e73a||2020-11-11T22:32:11.151Z|"],
    ),
    (
        "new_relic/zulip_incident_created_new.json",
        &["firing|8114ada3-572e-4550-a310-12375371669e||2020-11-11T22:32:11.151Z|"],
    ),
    (
        "new_relic/zulip_incident_default_fields_new.json",
        &["firing|e04156e4-4cac-4f39-9d27-75d361e40a6d||2020-11-11T22:32:11.151Z|"],
    ),
    (
        "new_relic/zulip_incident_missing_timestamp_new.json",
        &["firing|6eba9b54-898f-43eb-8892-e41ddca4a10f|||"],
    ),
    (
        "new_relic/zulip_incident_opened_old.json",
        &["firing|1234||2020-11-11T22:32:11.151Z|"],
    ),
    ("opsgenie/zulip_addnote.json", &["ignored"]),
    ("opsgenie/zulip_addtags.json", &["ignored"]),
    (
        "opsgenie/zulip_addteam.json",
        &["firing|aliastest||2015-01-05T10:03:11.104Z|"],
    ),
    (
        "opsgenie/zulip_assignownership.json",
        &["firing|aliastest||2015-01-05T10:03:11.104Z|"],
    ),
    (
        "opsgenie/zulip_close.json",
        &["resolved|aliastest||2015-01-05T10:03:11.104Z|2015-01-05T10:06:14.669001Z"],
    ),
    (
        "opsgenie/zulip_create.json",
        &["firing|alert-alias|p3|2017-08-14T11:25:56.288Z|"],
    ),
    (
        "opsgenie/zulip_delete.json",
        &["resolved|aliastest||2015-01-05T10:03:11.104Z|2015-01-05T10:06:14.669001Z"],
    ),
    // An incident of the REST API is not a webhook.
    ("pagerduty/keep_rest_incident_object.json", &["refused "]),
    (
        "pagerduty/zulip_acknowledged_v3.json",
        &["firing|PQ1K5C8|high|2021-06-04T13:55:30.394Z|"],
    ),
    (
        "pagerduty/zulip_mp_fail.json",
        &["resolved|PJKGZF9||2015-02-09T18:30:06Z|2015-02-09T18:31:05Z"],
    ),
    (
        "pagerduty/zulip_reassigned_v3.json",
        &["firing|PIQUG8X|high|2021-06-04T10:17:54.838Z|"],
    ),
    (
        "pagerduty/zulip_resolve_v2.json",
        &["resolved|PRORDTY|high|2017-09-26T15:14:36Z|2017-09-26T15:18:09Z"],
    ),
    ("pagerduty/zulip_status_updated_v3.json", &["ignored"]),
    (
        "pagerduty/zulip_trigger_v2.json",
        &["firing|PRORDTY|high|2017-09-26T15:14:36Z|"],
    ),
    (
        "pagerduty/zulip_triggered_v3.json",
        &["firing|PFQZPSY|high|2021-06-04T13:35:29.781Z|"],
    ),
    (
        "pagerduty/zulip_unacknowledged_v3.json",
        &["firing|PQ1K5C8|high|2021-06-04T13:54:23.185Z|"],
    ),
    (
        "pingdom/alerta_pingdom_down.json",
        &["firing|803318|high|2017-06-30T22:25:43Z|"],
    ),
    (
        "pingdom/zulip_http_up_to_down.json",
        &["firing|2048467||2016-03-14T07:10:34Z|"],
    ),
    (
        "pingdom/zulip_imap_down_to_up.json",
        &["resolved|2051859|||2016-03-15T19:33:00Z"],
    ),
    (
        "sentry/sentry-example_event_alert_triggered_with_rule_action.json",
        &["firing|123||2022-04-04T18:17:18.32Z|"],
    ),
    ("sentry/sentry-example_installation_deleted.json", &["ignored"]),
    (
        "sentry/sentry-example_metric_alert_warning.json",
        &["firing|metric_alert/789|warning||"],
    ),
    (
        "sentry/zulip_deprecated_exception_message.json",
        &["firing|156699934|error|2016-09-06T18:12:45Z|"],
    ),
    (
        "sentry/zulip_event_for_exception_golang.json",
        &["firing|1637164584|error|2020-04-29T11:23:45.978469Z|"],
    ),
    (
        "sentry/zulip_event_for_exception_js.json",
        &["firing|1731239773|error|2020-06-17T14:42:54.656Z|"],
    ),
    (
        "sentry/zulip_event_for_exception_node.json",
        &["firing|1638852747|error|2020-04-30T06:19:33.562812Z|"],
    ),
    (
        "sentry/zulip_event_for_exception_rails.json",
        &["firing|4213933362|error|2023-05-29T10:12:33Z|"],
    ),
    (
        "sentry/zulip_event_for_exception_vue.json",
        &["firing|4214010673|error|2023-05-29T11:08:30.821Z|"],
    ),
    (
        "sentry/zulip_event_for_message_golang.json",
        &["firing|1638844654|info|2020-04-30T06:14:13.611851Z|"],
    ),
    (
        "sentry/zulip_event_for_message_node.json",
        &["firing|1638840427|info|2020-04-30T06:09:56.493251Z|"],
    ),
    (
        "sentry/zulip_event_for_message_python.json",
        &["firing|1635261062|info|2020-04-28T14:05:04.210463Z|"],
    ),
    (
        "sentry/zulip_issue_assigned_to_individual.json",
        &["firing|1638844654|info|2020-04-30T06:14:13.611851Z|"],
    ),
    (
        "sentry/zulip_issue_assigned_to_team.json",
        &["firing|1638821441|error|2020-04-30T05:54:15.092476Z|"],
    ),
    (
        "sentry/zulip_issue_created_for_message.json",
        &["firing|1635261062|info|2020-04-28T14:05:04.210463Z|"],
    ),
    ("sentry/zulip_issue_ignored.json", &["ignored"]),
    (
        "sentry/zulip_issue_resolved.json",
        &["resolved|1638821441|error|2020-04-30T05:54:15.092476Z|"],
    ),
    (
        "sentry/zulip_raven_sdk_python_event.json",
        &["firing|4311163364|error|2023-07-12T20:47:51Z|"],
    ),
    (
        "statuscake/hubot_up_fields.json",
        &["resolved|Test http://www.google.com|||"],
    ),
    (
        "statuspage/crazymax_github_data-summary-2.json",
        &["firing|3jr0nb7zjpbm|maintenance|2020-12-15T10:00:00Z|"],
    ),
    (
        "statuspage/crazymax_github_data-summary.json",
        &[
            "firing|6tcfpztf6j9m|minor|2020-05-22T16:41:53.133Z|",
            "ignored",
            "ignored",
        ],
    ),
    ("statuspage/rapid7_github_summary_0.json", &["ignored"]),
    ("statuspage/renku_summary_operational.json", &["ignored"]),
    (
        "statuspage/renku_summary_outage.json",
        &["firing|jl5c3h8ts43j|critical|2023-10-17T10:32:48.373Z|"],
    ),
    (
        "statuspage/zulip_webhook_component_status_update.json",
        &["firing|component/sqm6pl84wzjc|under_maintenance|2017-12-26T07:59:09.379Z|"],
    ),
    (
        "statuspage/zulip_webhook_incident_update.json",
        &["resolved|z3lct0r596n4|none|2017-12-26T07:32:00.507Z|2017-12-26T07:37:20.785Z"],
    ),
    (
        "updown/zulip_check_multiple_events.json",
        &[
            "firing|ngg8/2016-02-07T13:11:43Z||2016-02-07T13:11:43Z|",
            "resolved|ngg8/2016-02-07T13:11:43Z||2016-02-07T13:11:43Z|2016-02-07T13:11:44Z",
        ],
    ),
    (
        "updown/zulip_check_up_again_one_event.json",
        &["resolved|ngg8/2016-02-07T13:11:43Z||2016-02-07T13:11:43Z|2016-02-07T13:16:07Z"],
    ),
    ("updown/zulip_check_up_first_time.json", &["resolved|ngg8|||"]),
    (
        "uptime_kuma/keep_full_webhook_payload.json",
        &["resolved|1|||2022-08-26T01:02:24Z"],
    ),
    (
        "uptime_kuma/keep_missing_monitor_url.json",
        &["firing|2||2022-08-26T01:02:24Z|"],
    ),
    (
        "uptime_kuma/keep_missing_msg_fallback_to_heartbeat_msg.json",
        &["resolved|3|||2022-08-26T01:02:24Z"],
    ),
    (
        "uptimerobot/hubot_get_down_html_entity_name.txt",
        &["firing|1234567|||"],
    ),
    (
        "uptimerobot/unreal4u_get_down_query.txt",
        &["firing|778368750||2016-11-27T02:54:06Z|"],
    ),
    (
        "uptimerobot/zulip_monitor_down_camelcase.json",
        &["firing|784350743|||"],
    ),
    (
        "uptimerobot/zulip_uptimerobot_monitor_up.json",
        &["resolved|server2.example.com Mail Server|||"],
    ),
    ("zabbix/cloudforet_zabbix_params.json", &["firing|7467|average||"]),
    ("zabbix/zulip_zabbix_alert.json", &["firing|14032|average||"]),
    ("zabbix/zulip_zabbix_ok.json", &["resolved|14032|average||"]),
];

struct Sample {
    source: &'static str,
    name: String,
    request: Request,
}

/// Returns all samples as they would be sent. Empty if the folder does not exist.
fn samples() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/payloads");
    let mut samples = Vec::new();
    for source in FOLDERS.into_iter().chain([ZABBIX]) {
        let Ok(entries) = fs::read_dir(root.join(source)) else {
            eprintln!(
                "{} is not there: its samples are not tested",
                root.join(source).display()
            );
            continue;
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            // Files with facts, and headers that belong to a body.
            if name.ends_with(".md") || name.ends_with(".headers") {
                continue;
            }
            let bytes = fs::read(&file).expect("a sample");
            let headers = fs::read_to_string(file.with_extension("headers")).ok();
            samples.push(Sample {
                source,
                name: format!("{source}/{name}"),
                request: request(source, name, bytes, headers.as_deref()),
            });
        }
    }
    samples
}

fn request(source: &str, name: &str, bytes: Vec<u8>, headers: Option<&str>) -> Request {
    if name.ends_with(".http") {
        return message(&String::from_utf8(bytes).expect("text"));
    }
    if name.ends_with(".txt") {
        let text = String::from_utf8(bytes).expect("text");
        let query = text
            .trim()
            .rsplit('?')
            .find(|part| part.contains('='))
            .expect("a query");
        // The URL in one of them ends in a question mark.
        let query = text.trim().split_once("/?").map_or(query, |(_, query)| query);
        return Request {
            method: "GET".to_owned(),
            query: query.to_owned(),
            ..Request::default()
        };
    }
    let mut request = Request::json(bytes);
    if let Some(headers) = headers {
        request.headers = lines(headers.lines().skip(1));
    }
    if source == "sentry" {
        let kinds = [
            ("event_alert", "event_alert"),
            ("event_for", "event_alert"),
            ("issue", "issue"),
            ("metric_alert", "metric_alert"),
            ("installation", "installation"),
        ];
        if let Some((_, kind)) = kinds.iter().find(|(part, _)| name.contains(part)) {
            request
                .headers
                .insert("sentry-hook-resource".to_owned(), (*kind).to_owned());
        }
    }
    request
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    lines
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| !["host", "content-length", "connection"].contains(&name.to_lowercase().as_str()))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect()
}

/// Parses the text of a whole HTTP message, with or without its first line.
fn message(text: &str) -> Request {
    let (head, body) = text.split_once("\n\n").expect("a head and a body");
    Request {
        method: if head.starts_with("PUT") { "PUT" } else { "POST" }.to_owned(),
        headers: lines(head.lines()),
        body: body.as_bytes().to_vec(),
        ..Request::default()
    }
}

fn shown(outcome: &Result<Batch, Refusal>) -> Vec<String> {
    match outcome {
        Err((pointer, _)) => vec![format!("refused {pointer}")],
        Ok(batch) => {
            let time =
                |at: Option<candor::base::time::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
            let mut all: Vec<String> = batch
                .alerts
                .iter()
                .map(|alert| {
                    let state = if alert.firing { "firing" } else { "resolved" };
                    let (started, ended) = (time(alert.started_at), time(alert.ended_at));
                    format!(
                        "{state}|{}|{}|{started}|{ended}",
                        alert.fingerprint, alert.severity
                    )
                })
                .collect();
            all.extend(batch.ignored.iter().map(|_| "ignored".to_owned()));
            all
        }
    }
}

#[test]
fn a_sample_is_read_as_its_facts_say() {
    let mut wrong = Vec::new();
    for sample in samples() {
        let outcome = source::parse(sample.source, None, &sample.request);
        let got = shown(&outcome);
        let expected = EXPECTED.iter().find(|(name, _)| *name == sample.name);
        match expected {
            None => wrong.push(format!("{} has no expectation; it is {got:?}", sample.name)),
            Some((_, expected)) if got != **expected => {
                wrong.push(format!(
                    "{}: {got:?} and not {expected:?}: {outcome:?}",
                    sample.name
                ));
            }
            Some(_) => {}
        }
        if let Err((_, reason)) = &outcome {
            assert!(reason.len() > 10, "{}: {reason}", sample.name);
        }
        for alert in outcome.iter().flat_map(|batch| &batch.alerts) {
            assert!(!alert.title.trim().is_empty(), "{} has no title", sample.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sample_of_sentry_is_read_without_its_header_too() {
    for mut sample in samples().into_iter().filter(|sample| sample.source == "sentry") {
        let with = shown(&source::parse("sentry", None, &sample.request));
        sample.request.headers.remove("sentry-hook-resource");
        let without = shown(&source::parse("sentry", None, &sample.request));
        assert_eq!(with, without, "{}", sample.name);
    }
}

async fn every_sample_comes_through_the_hook(env: Env) {
    let app = TestApp::start(&env).await;
    for sample in samples() {
        let expected = EXPECTED.iter().find(|(name, _)| *name == sample.name);
        let expected = expected.map_or(&[][..], |(_, expected)| expected);
        let made = app
            .post(
                "/api/v1/integrations",
                json!({"name": sample.name, "source": sample.source}),
            )
            .await
            .expect(201);
        let url = made["hook_url"].as_str().expect("a URL");
        let url = if sample.request.query.is_empty() {
            url.to_owned()
        } else {
            format!("{url}?{}", sample.request.query)
        };
        let method = Method::from_bytes(sample.request.method.as_bytes()).expect("a method");
        let mut call = app.anonymous().request(method, &url);
        for (name, value) in sample
            .request
            .headers
            .iter()
            .filter(|(name, _)| *name != "content-type")
        {
            call = call.header(name, value);
        }
        let media = sample
            .request
            .header("content-type")
            .unwrap_or("application/json");
        let answer = call.body(media, sample.request.body.clone()).send().await;
        if let Some(pointer) = expected.iter().find_map(|one| one.strip_prefix("refused ")) {
            answer.expect_invalid(pointer);
        } else {
            let answer = answer.expect(202);
            let alerts = expected.iter().filter(|one| one.contains('|')).count();
            if answer["subscription"].is_null() {
                assert_eq!(answer["alerts"], alerts, "{}: {answer}", sample.name);
                assert_eq!(
                    answer["ignored"],
                    expected.len() - alerts,
                    "{}: {answer}",
                    sample.name
                );
            } else {
                assert_eq!(answer["subscription"], "by_hand", "{}", sample.name);
            }
            let firing: Vec<&str> = expected
                .iter()
                .filter_map(|one| one.strip_prefix("firing|")?.split('|').next())
                .collect();
            let opened = answer["opened"].as_array().map_or(0, Vec::len);
            let informs = answer["recorded"]
                .as_array()
                .is_some_and(|recorded| recorded.iter().any(|one| one["reason"] == "informational"));
            let grouped = ["grafana", "alertmanager"].contains(&sample.source);
            match firing.len() {
                0 => assert_eq!(opened, 0, "{}: {answer}", sample.name),
                _ if informs => assert_eq!(opened, 0, "{}: {answer}", sample.name),
                // The alerts of one group of the sender are one incident.
                most if grouped => assert!((1..=most).contains(&opened), "{}: {answer}", sample.name),
                all => assert_eq!(opened, all, "{}: {answer}", sample.name),
            }
            let stored = app
                .all(&format!("/api/v1/alerts?integration={}", made.id()))
                .await;
            for key in firing {
                assert!(
                    stored.iter().any(|alert| alert["fingerprint"] == key),
                    "{}: no {key}",
                    sample.name
                );
            }
        }
        // The request is saved in both cases, and a trial of it shows the same result.
        let kept = app
            .get(&format!("/api/v1/integrations/{}/bodies", made.id()))
            .await
            .expect(200);
        let kept = kept.items().first().expect("a body").clone();
        let refused = expected.iter().any(|one| one.starts_with("refused"));
        assert_eq!(kept["accepted"], !refused, "{}: {kept}", sample.name);
        let tried = app
            .post(
                &format!("/api/v1/integrations/{}/try", made.id()),
                json!({"body_id": kept["id"]}),
            )
            .await
            .expect(200);
        assert_eq!(again(&tried.json), expected, "{}", sample.name);
    }
    app.finish().await;
}

/// Returns the result of a trial in the form of the table.
fn again(tried: &Value) -> Vec<String> {
    if let Some(pointer) = tried["refused"]["pointer"].as_str() {
        return vec![format!("refused {pointer}")];
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = tried["alerts"].as_array().expect("alerts").iter().map(|alert| {
        format!(
            "{}|{}|{}|{}|{}",
            text(&alert["status"]),
            text(&alert["fingerprint"]),
            text(&alert["severity"]),
            text(&alert["started_at"]),
            text(&alert["ended_at"])
        )
    });
    let ignored = tried["ignored"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|_| "ignored".to_owned());
    alerts.chain(ignored).collect()
}
