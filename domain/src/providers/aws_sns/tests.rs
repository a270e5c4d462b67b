use std::{fs, path::Path};

use schemas::Time;
use serde_json::json;

use super::*;
use crate::providers::tests::{normalise, only};

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";

/// A sample of this provider. All are signed under `certificate.pem`, whose key is nowhere any more.
fn sample(name: &str) -> Vec<u8> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/providers/aws-sns");
    fs::read(folder.join(name)).unwrap()
}

fn body(name: &str) -> Value {
    serde_json::from_slice(&sample(name)).unwrap()
}

/// Within the certificate's validity.
const NOW: &str = "2026-12-01T00:00:00Z";

struct Check {
    certificate: Vec<u8>,
    headers: Vec<(String, String)>,
    credentials: Vec<Credential>,
    at: &'static str,
}

impl Check {
    fn new() -> Self {
        let certificate = sample("certificate.pem");
        Self { certificate, headers: vec![], credentials: vec![], at: NOW }
    }

    fn says(&self, body: &[u8]) -> Result<String, &'static str> {
        let request = Request {
            received_at: self.at.parse().unwrap(),
            headers: &self.headers,
            body,
            fetched: Some(&self.certificate),
            ..Request::default()
        };
        let auth = AwsSns.authenticate(&request, &self.credentials);
        auth.map(|auth| auth.method).map_err(|refused| refused.code)
    }

    fn of(&self, body: &Value) -> Result<String, &'static str> {
        self.says(body.to_string().as_bytes())
    }
}

fn asked(body: &[u8]) -> Request<'_> {
    Request { received_at: NOW.parse::<Time>().unwrap(), body, ..Request::default() }
}

#[test]
fn r11_both_signature_versions_and_all_three_types_are_checked() {
    let check = Check::new();
    for (name, method) in [
        ("cloudwatch-alarm.json", "sns_rsa_sha256"),
        ("cloudwatch-ok.json", "sns_rsa_sha1"),
        ("cloudwatch-insufficient-data.json", "sns_rsa_sha256"),
        ("published-text.json", "sns_rsa_sha256"),
        ("subscription-confirmation.json", "sns_rsa_sha256"),
        ("unsubscribe-confirmation.json", "sns_rsa_sha1"),
    ] {
        assert_eq!(check.says(&sample(name)), Ok(method.to_owned()), "{name}");
        // The values are signed, not the spelling.
        assert_eq!(check.of(&body(name)), Ok(method.to_owned()), "{name}");
    }
}

#[test]
fn r11_whatever_is_signed_and_changed_is_refused() {
    let check = Check::new();
    for sample in ["cloudwatch-alarm.json", "cloudwatch-ok.json", "subscription-confirmation.json"]
    {
        let fields = match sample {
            "subscription-confirmation.json" => CONFIRMATION,
            _ => NOTIFICATION,
        };
        for name in fields {
            let mut changed = body(sample);
            let mut bytes = changed[*name].as_str().unwrap().as_bytes().to_vec();
            bytes[0] ^= 1;
            changed[*name] = String::from_utf8(bytes).unwrap().into();
            assert_eq!(check.of(&changed), Err("signature_invalid"), "{sample} {name}");
            changed.as_object_mut().unwrap().remove(*name);
            assert!(check.of(&changed).is_err(), "{sample} without {name}");
        }
    }
}

#[test]
fn r11_a_signature_that_is_not_this_ones_is_refused() {
    let check = Check::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = body("cloudwatch-alarm.json");
        change(&mut changed);
        check.of(&changed)
    };
    let signature = body("cloudwatch-alarm.json")["Signature"].as_str().unwrap().to_owned();
    let other = body("published-text.json")["Signature"].clone();
    let mut bit = BASE64_STANDARD.decode(&signature).unwrap();
    bit[100] ^= 1;
    let bit = BASE64_STANDARD.encode(bit);
    for (signature, code) in [
        (Value::from(bit), "signature_invalid"),
        (signature[..signature.len() - 8].into(), "signature_invalid"),
        ("AAAA".into(), "signature_invalid"),
        ("no base64".into(), "signature_invalid"),
        (other, "signature_invalid"),
        ("".into(), "signature_missing"),
        (Value::Null, "signature_missing"),
    ] {
        let found = with(&|body| body["Signature"] = signature.clone());
        assert_eq!(found, Err(code), "{signature}");
    }
    assert_eq!(with(&|body| body["SignatureVersion"] = "1".into()), Err("signature_invalid"));
    assert_eq!(with(&|body| body["SignatureVersion"] = "3".into()), Err("signature_invalid"));
    assert_eq!(with(&|body| body["Type"] = "Something".into()), Err("signature_invalid"));
    assert_eq!(check.says(b"[]"), Err("signature_missing"));
    assert_eq!(check.says(b"no json"), Err("signature_missing"));
}

#[test]
fn r11_headers_must_say_what_is_signed() {
    let alarm = sample("cloudwatch-alarm.json");
    let mut check = Check::new();
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    check.headers = header("x-amz-sns-message-type", "Notification");
    assert!(check.says(&alarm).is_ok());
    for (name, value) in [
        ("x-amz-sns-message-type", "SubscriptionConfirmation"),
        ("x-amz-sns-topic-arn", "arn:aws:sns:eu-west-1:123456789012:others"),
        ("x-amz-sns-message-id", "1"),
    ] {
        check.headers = header(name, value);
        assert_eq!(check.says(&alarm), Err("signature_invalid"), "{name}");
    }
    check.headers = header("x-amz-sns-rawdelivery", "true");
    assert_eq!(check.says(&alarm), Err("raw_delivery"));
}

#[test]
fn r11_the_certificate_must_be_valid_and_from_sns() {
    let alarm = sample("cloudwatch-alarm.json");
    let mut check = Check::new();
    check.at = "2026-11-20T12:24:00Z";
    assert_eq!(check.says(&alarm), Err("certificate_refused"));
    check.at = "2026-11-20T12:24:01Z";
    assert!(check.says(&alarm).is_ok());
    check.at = "2126-10-27T12:24:02Z";
    assert_eq!(check.says(&alarm), Err("certificate_refused"));
    check.at = NOW;
    let whole = check.certificate.clone();
    for bad in [&b""[..], b"-----BEGIN CERTIFICATE-----", &whole[..whole.len() / 2], b"\xFF\xFE"] {
        check.certificate = bad.to_vec();
        assert_eq!(check.says(&alarm), Err("certificate_refused"));
    }
    // Another host, whatever it has to offer.
    check.certificate = whole;
    let mut elsewhere = body("cloudwatch-alarm.json");
    elsewhere["SigningCertURL"] = "https://sns.s3.amazonaws.com/a.pem".into();
    assert_eq!(check.of(&elsewhere), Err("certificate_refused"));
    assert_eq!(AwsSns.needs(&asked(elsewhere.to_string().as_bytes()), &[]), None);
    let needed = body("cloudwatch-alarm.json")["SigningCertURL"].as_str().map(str::to_owned);
    assert!(needed.is_some());
    assert_eq!(AwsSns.needs(&asked(&alarm), &[]), needed);
    let unfetched = AwsSns.authenticate(&asked(&alarm), &[]);
    assert_eq!(unfetched.map_err(|refused| refused.code), Err("certificate_refused"));
}

#[test]
fn no_bytes_of_a_certificate_make_it_panic() {
    let whole = sample("certificate.pem");
    let text = String::from_utf8(whole).unwrap();
    let packed: String =
        text.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().concat();
    let der = BASE64_STANDARD.decode(packed).unwrap();
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut altered = der.clone();
            altered[at] ^= 1 << bit;
            let wrap = |der: &[u8]| {
                let packed = BASE64_STANDARD.encode(der);
                format!("-----BEGIN CERTIFICATE-----{packed}-----END CERTIFICATE-----")
            };
            let _ = Certificate::from_pem(wrap(&altered).as_bytes());
            let cut = Certificate::from_pem(wrap(&altered[..at]).as_bytes());
            assert!(cut.is_none(), "{at} bytes of a certificate are none");
        }
    }
}

#[test]
fn credentials_are_asked_for_as_well_where_there_are_some() {
    let alarm = sample("cloudwatch-alarm.json");
    let mut check = Check::new();
    check.credentials =
        vec![Credential::Basic { id: "b".into(), user: "u".into(), password: "p".into() }];
    assert_eq!(check.says(&alarm), Err("credentials_missing"));
    check.headers = vec![("authorization".into(), "Basic dTpw".into())];
    assert!(check.says(&alarm).is_ok());
    let mut changed = body("cloudwatch-alarm.json");
    changed["Subject"] = "other".into();
    assert_eq!(check.of(&changed), Err("signature_invalid"));
}

#[test]
fn only_listed_topics_are_let_in_and_confirmed() {
    let listed = Senders::Listed(vec!["arn:aws:sns:eu-west-1:123456789012:x".into(), TOPIC.into()]);
    let confirmation = sample("subscription-confirmation.json");
    let alarm = sample("cloudwatch-alarm.json");
    let admits = |body: &[u8], senders: &Senders| AwsSns.admit(&asked(body), senders).is_ok();
    assert!(admits(&alarm, &listed) && admits(&confirmation, &listed));
    let others = Senders::Listed(vec![format!("{TOPIC}-other")]);
    for senders in [&others, &Senders::Listed(vec![])] {
        assert!(!admits(&alarm, senders) && !admits(&confirmation, senders));
    }
    // In development nobody need be listed, and nothing is confirmed all the same.
    for senders in [&Senders::Anybody, &Senders::Named] {
        assert!(admits(&alarm, senders) && !admits(&confirmation, senders));
    }
    assert!(!admits(b"{}", &listed) && !admits(b"x", &listed));
}

#[test]
fn only_a_confirmation_of_the_same_topic_is_followed_up() {
    let follow_up = |body: &Value| AwsSns.follow_up(&asked(body.to_string().as_bytes()));
    let confirmation = body("subscription-confirmation.json");
    assert_eq!(follow_up(&confirmation).as_deref(), confirmation["SubscribeURL"].as_str());
    assert_eq!(follow_up(&body("cloudwatch-alarm.json")), None);
    // Asking for it would begin the subscription again.
    assert_eq!(follow_up(&body("unsubscribe-confirmation.json")), None);
    for url in ["https://169.254.169.254/latest/meta-data", "http://sns.eu-west-1.amazonaws.com/?x"]
    {
        let mut elsewhere = confirmation.clone();
        elsewhere["SubscribeURL"] = url.into();
        assert_eq!(follow_up(&elsewhere), None);
    }
    let mut other = confirmation;
    other["TopicArn"] = "arn:aws:sns:eu-west-1:123456789012:others".into();
    assert_eq!(follow_up(&other), None);
}

#[test]
fn an_alarm_is_the_same_over_its_states_and_with_or_without_its_arn() {
    let tell = |name: &str| normalise("aws-sns", &json!({}), &sample(name));
    let (fires, ends) = (only(tell("cloudwatch-alarm.json")), only(tell("cloudwatch-ok.json")));
    assert_eq!(fires.identity, ends.identity);
    assert_ne!(fires.identity, only(tell("cloudwatch-composite.json")).identity);
    assert_eq!(AwsSns.silence(&fires), Silence::Nothing);
    assert_eq!(AwsSns.silence(&only(tell("published-text.json"))), Silence::Over);
    let key = |told: Normalised| match told {
        Normalised::Alerts { key: Some(key), .. } if key.stable => key.key,
        other => panic!("no stable key: {other:?}"),
    };
    assert_eq!(key(tell("cloudwatch-alarm.json")), key(tell("cloudwatch-alarm.json")));
    assert_ne!(key(tell("cloudwatch-alarm.json")), key(tell("cloudwatch-ok.json")));
}
