//! The addresses in a body that are asked for: whoever writes a body must not choose what this
//! machine talks to.

use crate::providers::build;

/// Longest address that is asked for, in bytes.
const MAX_URL: usize = 2048;

/// Whether it is a certificate of SNS: https, a host of SNS, a path that ends in `.pem`, and nothing
/// else.
pub(super) fn is_certificate(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    path(url).is_some_and(|path| {
        // Two spellings of one path would be two addresses to ask.
        let detour = ["..", "/.", "//"].iter().any(|part| path.contains(part));
        path.ends_with(".pem") && path.chars().all(plain) && !detour
    })
}

/// Whether it confirms a subscription to that topic, and does nothing else.
pub(super) fn is_confirmation(url: &str, topic: &str) -> bool {
    let Some(path) = path(url) else { return false };
    path.starts_with("/?")
        && build::query(url, "Action") == Some("ConfirmSubscription")
        && build::query(url, "TopicArn").is_some_and(|arn| arn.replace("%3A", ":") == topic)
        && build::query(url, "Token").is_some()
        // Which of two would be obeyed is not ours to guess.
        && ["Action=", "TopicArn="].iter().all(|name| path.matches(name).count() == 1)
}

/// What follows the host of an https address of SNS, the slash included.
fn path(url: &str) -> Option<&str> {
    let visible = url.len() <= MAX_URL && url.bytes().all(|b| b.is_ascii_graphic());
    let rest = url.strip_prefix("https://").filter(|_| visible && !url.contains(['\\', '#']))?;
    let (host, path) = rest.split_at(rest.find('/')?);
    is_sns_host(host).then_some(path)
}

/// `sns.<region>.amazonaws.com`, or `.com.cn`. Neither user nor port; and the region has to look
/// like one, for `sns.s3.amazonaws.com` is anybody's bucket.
fn is_sns_host(host: &str) -> bool {
    let Some(rest) = host.strip_prefix("sns.") else { return false };
    let rest = rest.strip_suffix(".cn").unwrap_or(rest);
    let Some(region) = rest.strip_suffix(".amazonaws.com") else { return false };
    let parts: Vec<&str> = region.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        // us-east-1, us-gov-west-1
        [country, middle @ .., number] if (1..=3).contains(&middle.len()) => {
            country.len() == 2
                && letters(country)
                && middle.iter().all(letters)
                && matches!(number.as_bytes(), [b'0'..=b'9'])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_on_sns_hosts_are_fetched() {
        for good in [
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
            "https://sns.us-gov-west-1.amazonaws.com/a.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/a/b.pem",
        ] {
            assert!(is_certificate(good), "{good}");
        }
        let long = format!("https://sns.eu-west-1.amazonaws.com/{}.pem", "a".repeat(3000));
        for bad in [
            "http://sns.eu-west-1.amazonaws.com/a.pem",
            "HTTPS://sns.eu-west-1.amazonaws.com/a.pem",
            "https://SNS.eu-west-1.amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com./a.pem",
            "https://sns.eu-west-1.amazonaws.com:443/a.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
            "https://u:p@sns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
            "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com\\@evil.example/a.pem",
            "https://xsns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.s3.amazonaws.com/a.pem",
            "https://sns.s3-us-west-2.amazonaws.com/a.pem",
            "https://sns.eu-west-1.s3.amazonaws.com/a.pem",
            "https://sns.evil.example.amazonaws.com/a.pem",
            "https://sns.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com/a.pem?x=1",
            "https://sns.eu-west-1.amazonaws.com/a.pem#x",
            "https://sns.eu-west-1.amazonaws.com/a.txt",
            "https://sns.eu-west-1.amazonaws.com/../a.pem",
            "https://sns.eu-west-1.amazonaws.com/%2e/a.pem",
            "https://sns.eu-west-1.amazonaws.com/./a.pem",
            "https://sns.eu-west-1.amazonaws.com/.pem",
            "https://sns.eu-west-1.amazonaws.com//a.pem",
            "https://sns.eu-west-1.amazonaws.com/a//b.pem",
            "https://sns.eu-west-1.amazonaws.com",
            "https://sns.eu-west-1.amazonaws.com/a\u{430}.pem",
            "https://169.254.169.254/a.pem",
            " https://sns.eu-west-1.amazonaws.com/a.pem",
            &long,
            "",
        ] {
            assert!(!is_certificate(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_confirmation_of_the_same_topic_is_asked_for() {
        let topic = "arn:aws:sns:eu-west-1:123456789012:alarms";
        let host = "https://sns.eu-west-1.amazonaws.com";
        let good = format!("{host}/?Action=ConfirmSubscription&TopicArn={topic}&Token=23");
        assert!(is_confirmation(&good, topic));
        assert!(is_confirmation(&good.replace(':', "%3A").replacen("%3A", ":", 1), topic));
        for bad in [
            good.replace("https", "http"),
            good.replace(host, "https://169.254.169.254"),
            good.replace("ConfirmSubscription", "DeleteTopic"),
            good.replace("alarms", "others"),
            good.replace("&Token=23", ""),
            good.replace("/?", "/x?"),
            format!("{good}&Action=DeleteTopic"),
            format!("{good}#x"),
            format!("{host}/"),
        ] {
            assert!(!is_confirmation(&bad, topic), "{bad}");
        }
    }
}
