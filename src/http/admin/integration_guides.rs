//! What a person needs to know about each source of requests: what it is, where to paste the hook's URL, and a text to paste.
//!
//! In a snippet, `{url}` and `{secret}` stand for the hook's URL and the secret. A line that begins with `?` is left out if there is
//! no secret.

/// How a source is connected.
pub struct Guide {
    /// The word of the source in the API.
    pub source: &'static str,
    /// The name of the product.
    pub name: &'static str,
    /// Where the URL is entered.
    pub steps: &'static str,
    /// A text to paste, or nothing.
    snippet: &'static str,
    /// Whether the secret comes from the sender, so that Candor cannot generate one.
    pub secret_of_sender: Option<&'static str>,
}

const fn guide(
    source: &'static str,
    name: &'static str,
    steps: &'static str,
    snippet: &'static str,
) -> Guide {
    Guide {
        source,
        name,
        steps,
        snippet,
        secret_of_sender: None,
    }
}

const fn theirs(
    source: &'static str,
    name: &'static str,
    steps: &'static str,
    secret: &'static str,
) -> Guide {
    Guide {
        source,
        name,
        steps,
        snippet: "",
        secret_of_sender: Some(secret),
    }
}

const HEADER: &str = "URL: {url}\nMethod: POST\n?Header: Authorization: Bearer {secret}";
const ADDRESS: &str = "{url}";
const IN_QUERY: &str = "{url}\n?\n?With the secret in the URL:\n?{url}?token={secret}";

/// The sources of alerts, and then the mail providers.
const GUIDES: [Guide; 29] = [
    guide(
        "alertmanager",
        "Prometheus Alertmanager",
        "Add this receiver to alertmanager.yml and route alerts to it.",
        "receivers:\n  - name: candor\n    webhook_configs:\n      - url: '{url}'\n        send_resolved: true\n?        http_config:\n?          authorization:\n?            credentials: '{secret}'\nroute:\n  receiver: candor",
    ),
    guide(
        "grafana",
        "Grafana",
        "Alerting, Contact points, New contact point: choose Webhook and enter this. Then add the contact point to a notification policy.",
        "URL: {url}\nHTTP method: POST\n?Authorization header, scheme: Bearer\n?Authorization header, credentials: {secret}",
    ),
    theirs(
        "sentry",
        "Sentry",
        "Settings, Integrations, Create an internal integration: enter the URL as its webhook URL, and switch on issue, error and metric alerts.",
        "The client secret of the internal integration.",
    ),
    theirs(
        "pagerduty",
        "PagerDuty",
        "Integrations, Generic webhooks (v3): enter the URL. Or send events in the format of PagerDuty to the URL, with /v2/enqueue at its end.",
        "The secret that PagerDuty shows once when the webhook is created, or the routing key.",
    ),
    guide(
        "opsgenie",
        "Opsgenie",
        "Settings, Integrations, Webhook: enter this, and choose to send the alert's payload.",
        HEADER,
    ),
    guide(
        "datadog",
        "Datadog",
        "Integrations, Webhooks, New: enter the URL and this payload, and name @webhook-candor in the message of each monitor.",
        "URL: {url}\n?Custom headers: {\"Authorization\": \"Bearer {secret}\"}\nPayload:\n{\"id\": \"$ID\", \"title\": \"$EVENT_TITLE\", \"body\": \"$EVENT_MSG\", \"alert_transition\": \"$ALERT_TRANSITION\", \"alert_id\": \"$ALERT_ID\", \"alert_cycle_key\": \"$ALERT_CYCLE_KEY\", \"aggreg_key\": \"$AGGREG_KEY\", \"scope\": \"$ALERT_SCOPE\", \"priority\": \"$PRIORITY\", \"tags\": \"$TAGS\", \"date\": \"$DATE\", \"link\": \"$LINK\"}",
    ),
    theirs(
        "aws_sns",
        "Amazon SNS",
        "Create a subscription of the topic with the protocol HTTPS and the URL as its endpoint. Candor confirms it.",
        "The ARN of the topic. Then Amazon's signature is verified.",
    ),
    theirs(
        "aws_cloudwatch",
        "Amazon CloudWatch",
        "Let the alarm publish to a topic of SNS, and subscribe the URL to the topic with the protocol HTTPS.",
        "The ARN of the topic. Then Amazon's signature is verified.",
    ),
    guide(
        "gcp_monitoring",
        "Google Cloud Monitoring",
        "Alerting, Edit notification channels, Webhooks: enter the URL. Add the secret as the password of HTTP basic authentication.",
        IN_QUERY,
    ),
    guide(
        "azure_monitor",
        "Azure Monitor",
        "Monitor, Alerts, Action groups: add an action of the type webhook with the URL, and switch on the common alert schema.",
        IN_QUERY,
    ),
    guide(
        "uptimerobot",
        "UptimeRobot",
        "My settings, Alert contacts: add a webhook with the URL, and send the values as JSON.",
        IN_QUERY,
    ),
    guide(
        "uptime_kuma",
        "Uptime Kuma",
        "Settings, Notifications: choose Webhook with this URL and the body application/json.",
        "Post URL: {url}\n?Additional headers: {\"Authorization\": \"Bearer {secret}\"}",
    ),
    guide(
        "statuscake",
        "StatusCake",
        "Contact groups: enter the URL as the ping URL.",
        IN_QUERY,
    ),
    guide(
        "pingdom",
        "Pingdom",
        "Integrations, Add integration: choose Webhook and enter the URL. Then switch it on for each check.",
        IN_QUERY,
    ),
    guide(
        "betterstack",
        "Better Stack",
        "Integrations, Exporting data: add an outgoing webhook with this, for started, acknowledged and resolved incidents.",
        HEADER,
    ),
    guide(
        "healthchecks",
        "Healthchecks",
        "Integrations, Webhook: enter this for down and for up.",
        "URL: {url}\nMethod: POST\nBody: {\"code\": \"$CODE\", \"name\": \"$NAME\", \"status\": \"$STATUS\", \"tags\": \"$TAGS\", \"now\": \"$NOW\"}\n?Request headers: Authorization: Bearer {secret}",
    ),
    guide(
        "updown",
        "updown.io",
        "Settings, Webhooks: enter the URL.",
        IN_QUERY,
    ),
    guide(
        "new_relic",
        "New Relic",
        "Alerts, Destinations: add a webhook with this. Then add it to a workflow.",
        HEADER,
    ),
    guide(
        "zabbix",
        "Zabbix",
        "Alerts, Media types: create one of the type webhook whose script sends JSON to this URL.",
        "var request = new HttpRequest();\nrequest.addHeader('Content-Type: application/json');\n?request.addHeader('Authorization: Bearer {secret}');\nrequest.post('{url}', value);\nreturn 'OK';",
    ),
    guide(
        "nagios",
        "Nagios, Icinga or Checkmk",
        "Define a notification command that sends this, and use it for hosts and services.",
        "curl -fsS -m 10 '{url}' \\\n?  -H 'Authorization: Bearer {secret}' \\\n  --data-urlencode 'host=$HOSTNAME$' --data-urlencode 'service=$SERVICEDESC$' \\\n  --data-urlencode 'servicestate=$SERVICESTATE$' --data-urlencode 'hoststate=$HOSTSTATE$' \\\n  --data-urlencode 'notificationtype=$NOTIFICATIONTYPE$' \\\n  --data-urlencode 'output=$SERVICEOUTPUT$'",
    ),
    guide(
        "statuspage",
        "The status page of a supplier (Statuspage)",
        "Subscribe to updates on the supplier's status page, choose Webhook, and enter the URL.",
        IN_QUERY,
    ),
    guide(
        "freshping",
        "Freshping",
        "Settings, Integrations, Webhook: enter the URL.",
        IN_QUERY,
    ),
    guide(
        "freshstatus",
        "Freshstatus",
        "Settings, Integrations, Webhook: enter the URL.",
        IN_QUERY,
    ),
    guide(
        "cloudevents",
        "CloudEvents",
        "Send events in the JSON, batch or binary mode to the URL.",
        HEADER,
    ),
    guide(
        "generic",
        "Any other system",
        "Let it send JSON to the URL. Fields with the usual names are read; the mapping names others.",
        "curl -fsS '{url}' \\\n?  -H 'Authorization: Bearer {secret}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{\"title\": \"Uploads fail\", \"status\": \"firing\", \"severity\": \"critical\", \"fingerprint\": \"uploads\"}'",
    ),
    theirs(
        "aws_ses",
        "Amazon SES: delivery reports",
        "Publish bounces, complaints and deliveries to a topic of SNS, and subscribe the URL to the topic with the protocol HTTPS.",
        "The ARN of the topic.",
    ),
    theirs(
        "mailgun",
        "Mailgun: delivery reports",
        "Sending, Webhooks: add the URL for failures, complaints and deliveries.",
        "The HTTP webhook signing key of Mailgun.",
    ),
    guide(
        "postmark",
        "Postmark: delivery reports",
        "Servers, Webhooks: add a webhook for bounces, spam complaints and deliveries.",
        HEADER,
    ),
    theirs(
        "sendgrid",
        "SendGrid: delivery reports",
        "Settings, Mail settings, Event webhook: enter the URL and switch on the signature.",
        "The verification key of the signed event webhook.",
    ),
];

/// Returns the guides of all sources that have one.
pub fn all() -> &'static [Guide] {
    static ALL: [Guide; GUIDES.len()] = GUIDES;
    &ALL
}

/// Returns the guide of a source.
pub fn of(source: &str) -> Option<&'static Guide> {
    all().iter().find(|guide| guide.source == source)
}

impl Guide {
    /// Returns the text to paste. None if there is nothing but the URL.
    pub fn snippet(&self, url: &str, secret: Option<&str>) -> Option<String> {
        let lines = self
            .snippet
            .lines()
            .filter_map(|line| match (line.strip_prefix('?'), secret) {
                (Some(line), Some(_)) => Some(line),
                (Some(_), None) => None,
                (None, _) => Some(line),
            });
        let text = lines.collect::<Vec<_>>().join("\n");
        let text = text
            .replace("{url}", url)
            .replace("{secret}", secret.unwrap_or_default());
        Some(text).filter(|text| !text.is_empty() && text != url && self.snippet != ADDRESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{provider, source};

    #[test]
    fn every_source_has_a_guide() {
        for name in source::KNOWN.iter().chain(&provider::SOURCES) {
            assert!(of(name).is_some(), "{name}");
        }
        assert_eq!(all().len(), source::KNOWN.len() + provider::SOURCES.len());
    }

    #[test]
    fn a_snippet_without_a_secret_mentions_none() {
        for guide in all() {
            let text = guide
                .snippet("https://x.example/hooks/abc", None)
                .unwrap_or_default();
            assert!(
                !text.contains("secret") && !text.contains("Bearer"),
                "{}: {text}",
                guide.source
            );
        }
        let grafana = of("grafana").and_then(|guide| guide.snippet("U", Some("S")));
        assert!(grafana.is_some_and(|text| text.contains("URL: U") && text.ends_with("credentials: S")));
    }
}
