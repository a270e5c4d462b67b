//! What a receiver says, without this target's credentials.
//!
//! A receiver may repeat what it was asked: an address, a header, what it was authorised with. So
//! each credential is hidden in every form in which a request carries it, in the whole of what is
//! said, before any of it is cut: half a credential is recognised by nobody.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::target::{Setting, Target};
use crate::channels::Response;

/// Shorter parts of an address are words like `hook`.
const SHORTEST_PART: usize = 12;

/// What stands where a credential did.
const HIDDEN: &str = "…";

impl Target {
    /// `text` without this target's credentials, should what a receiver says repeat them.
    pub(crate) fn hide_credentials(&self, text: &str) -> String {
        hide(&self.credentials(), text)
    }

    /// The answer without this target's credentials: in the texts of its JSON, or in the whole of it.
    pub(crate) fn hide_in(&self, response: Response) -> Response {
        let credentials = self.credentials();
        let body = match serde_json::from_slice::<Value>(&response.body) {
            Ok(mut said) => hide_in_value(&credentials, &mut said)
                .then(|| Bytes::from(said.to_string().into_bytes())),
            Err(_) => {
                let said = String::from_utf8_lossy(&response.body);
                hidden(&credentials, &said).map(|said| Bytes::from(said.into_bytes()))
            }
        };
        match body {
            Some(body) => Response { body, ..response },
            None => response,
        }
    }

    /// What would let somebody in, as requests carry it: the longest first, for one may be a part of
    /// another.
    fn credentials(&self) -> Vec<String> {
        let mut all = Vec::new();
        let (mut secrets, mut users) = (Vec::new(), Vec::new());
        for setting in self.settings.values() {
            match setting {
                Setting::Address(url) => of_address(url, &mut all),
                Setting::Secret(secret) => secrets.push(secret.expose_secret()),
                Setting::Text(text) => users.push(text.as_str()),
                // What messages are signed with is in no request.
                Setting::Key(_) | Setting::Number(_) | Setting::Texts(_) => {}
            }
        }
        secrets.extend(
            [&self.access, &self.answer_at].into_iter().flatten().map(|s| s.expose_secret()),
        );
        // What a question brings may be an address.
        if let Some(brought) = self.answer_at.as_ref().map(ExposeSecret::expose_secret) {
            secrets.push(brought);
            if let Ok(url) = Url::parse(brought) {
                of_address(&url, &mut all);
            }
        }
        for secret in secrets {
            all.push(secret.to_owned());
            all.extend(encoded(secret));
            // Alone and after its user: the ways in which HTTP and SMTP carry them (RFC 7617, RFC 4616).
            all.push(STANDARD_NO_PAD.encode(secret));
            for user in &users {
                all.push(STANDARD_NO_PAD.encode(format!("{user}:{secret}")));
                all.push(STANDARD_NO_PAD.encode(format!("\0{user}\0{secret}")));
            }
        }
        all.retain(|credential| !credential.is_empty());
        all.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        all
    }
}

fn of_address(url: &Url, all: &mut Vec<String>) {
    let long = |part: &str| part.len() >= SHORTEST_PART;
    all.extend(url.path().split('/').filter(|part| long(part)).map(str::to_owned));
    all.extend(url.query().map(str::to_owned));
    all.extend(url.query_pairs().filter(|(_, value)| long(value)).map(|(_, v)| v.into_owned()));
    let Some(password) = url.password() else { return };
    // The client sends the user and the password of an address as HTTP's Basic.
    let (user, plain) = (decoded(url.username()), decoded(password));
    all.push(STANDARD_NO_PAD.encode(format!("{user}:{plain}")));
    all.extend([password.to_owned(), plain]);
}

/// As the query of an address carries it.
fn encoded(text: &str) -> Option<String> {
    let url = Url::parse_with_params("http://x/", [("", text)]).ok()?;
    url.query()?.strip_prefix('=').map(str::to_owned)
}

/// Without the percent signs of an address.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hide(credentials: &[String], text: &str) -> String {
    hidden(credentials, text).unwrap_or_else(|| text.to_owned())
}

/// The text where there was something to hide. What no message shows may not stand between the parts
/// of a credential either.
fn hidden(credentials: &[String], text: &str) -> Option<String> {
    let shown: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    let mut hidden = shown;
    let mut found = false;
    for credential in credentials {
        if hidden.contains(credential.as_str()) {
            hidden = hidden.replace(credential.as_str(), HIDDEN);
            found = true;
        }
    }
    found.then_some(hidden)
}

/// Hides in every text and every name of a JSON value. False: there was nothing to hide.
fn hide_in_value(credentials: &[String], value: &mut Value) -> bool {
    match value {
        Value::String(text) => match hidden(credentials, text) {
            Some(hidden) => {
                *text = hidden;
                true
            }
            None => false,
        },
        Value::Array(items) => {
            items.iter_mut().fold(false, |found, item| hide_in_value(credentials, item) | found)
        }
        Value::Object(fields) => {
            let mut found = false;
            for (mut name, mut field) in std::mem::take(fields) {
                found |= hide_in_value(credentials, &mut field);
                if let Some(hidden) = hidden(credentials, &name) {
                    name = hidden;
                    found = true;
                }
                fields.insert(name, field);
            }
            found
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{channels::tests::response, config::tests::target_of};

    fn check(target: &Target, said: &str, expect: &str) {
        assert_eq!(target.hide_credentials(said), expect);
        // Whatever it stands in.
        let in_json = json!({ "a": [1, { "b": said }], "c": 9_007_199_254_740_993_i64 });
        let answer = target.hide_in(response(400, None, &in_json.to_string()));
        let got: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(got, json!({ "a": [1, { "b": expect }], "c": 9_007_199_254_740_993_i64 }));
        let answer = target.hide_in(response(400, None, &format!("<p>{said}</p>")));
        assert_eq!(answer.body, format!("<p>{expect}</p>"));
    }

    #[test]
    fn a7_a_user_and_a_password_are_hidden_as_basic_carries_them() {
        let user = target_of(json!({
            "kind": "alertmanager", "url": "http://alerts.example.com:9093", "user": "bell",
            "password": "hunter2:and more",
        }));
        let user = user.unwrap();
        // `bell:hunter2:and more`
        let sent = "Authorization: Basic YmVsbDpodW50ZXIyOmFuZCBtb3Jl was refused";
        check(&user, sent, "Authorization: Basic … was refused");
        check(&user, "no hunter2:and more, bell", "no …, bell");
        check(&user, "hunter2%3Aand+more", "…");
        let address = target_of(json!({
            "kind": "alertmanager", "url": "http://bell:hunter%202@alerts.example.com:9093",
        }));
        let address = address.unwrap();
        // `bell:hunter 2`
        check(&address, "Basic YmVsbDpodW50ZXIgMg==", "Basic …==");
        check(&address, "hunter 2 or hunter%202", "… or …");
    }

    #[test]
    fn a7_a_mail_servers_words_are_free_of_what_it_was_told() {
        let mail = target_of(json!({
            "kind": "email", "host": "mail.example.com", "from": "bell@example.com",
            "to": ["ops@example.com"], "user": "bell", "password": "hunter2 and more",
        }));
        let mail = mail.unwrap();
        // `\0bell\0hunter2 and more`, and the password alone
        check(&mail, "AUTH PLAIN AGJlbGwAaHVudGVyMiBhbmQgbW9yZQ==", "AUTH PLAIN …==");
        check(&mail, "334 aHVudGVyMiBhbmQgbW9yZQ==", "334 …==");
    }

    #[test]
    fn a7_an_answer_without_a_credential_stays_as_it_is() {
        let target = target_of(json!({"kind": "feishu", "url": "https://open.feishu.cn/hook/x"}));
        let target = target.unwrap();
        for body in [r#"{ "code" : 0.10, "msg": "\u0041" }"#, "<html>\u{1}", ""] {
            let answer = response(200, None, body);
            assert_eq!(target.hide_in(answer.clone()), answer);
        }
    }

    #[test]
    fn a7_a_name_in_json_may_be_a_credential() {
        let target = target_of(json!({
            "kind": "dingtalk", "url": "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef",
        }));
        let answer =
            response(200, None, r#"{"errcode":1,"0123456789abcdef":"0123456789\u0061bcdef"}"#);
        let answer = target.unwrap().hide_in(answer);
        let got: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(got, json!({ "errcode": 1, "…": "…" }));
    }
}
