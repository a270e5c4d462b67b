//! WeCom's applications: a text to the users, parties and tags an application may tell
//! (developer.work.weixin.qq.com, "Get access_token" and "Send application messages").
//!
//! The token stands in the address, which is therefore never shown. What became of a message stands
//! in `errcode`, with 200 in any case. `errcode` 0 can still mean that some of the users were not
//! told. There is nothing to edit: a text can be withdrawn, not changed.
//!
//! A repeat is not recognised. WeCom can be asked to swallow a request whose JSON is the same as one
//! before (`enable_duplicate_check`), but that compares texts, not messages: two incidents that read
//! alike would be one message, and nobody would know, while one message whose analysis came between
//! two attempts would be two. So a send with an unknown end is never repeated, and the check is on
//! only where the configuration says for how long.

use std::time::Duration;

use domain::notify::{Language, Message, wecom_text};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Channel, Form, Grant, Key, Need, Notification, Rate, Request, Response, Verdict, excerpt,
    http_verdict, is_said, retry_after, text::cut,
};
use crate::config::Target;

/// Where the applications of the public service ask.
const OFFICIAL: &str = "https://qyapi.weixin.qq.com";

/// The longest text, in bytes of UTF-8.
const MAX_TEXT: usize = 2_048;

/// The longest text of a second try.
const MAX_PLAIN_TEXT: usize = 512;

/// The most users of one message, and the most parties or tags.
const MAX_USERS: usize = 1_000;
const MAX_GROUPS: usize = 100;

/// How long a refused key stays refused by the minute's limit.
const MINUTE: Duration = Duration::from_secs(60);

/// Calls `message/send`.
pub struct WecomApp;

const NO_RECEIVERS: &str = "use what WeCom calls it, several joined by |";

impl Channel for WecomApp {
    fn kind(&self) -> &'static str {
        "wecom-app"
    }

    fn keys(&self) -> &'static [Key] {
        &[
            Key {
                name: "url",
                need: Need::May,
                form: Form::Address,
                remedy: "set it to a WeCom server of your own, or remove the key",
            },
            Key {
                name: "corp_id",
                need: Need::Must,
                form: Form::Text { what: "this is no id of a corporation", fits: is_word },
                remedy: "use the corporation's id, which begins with ww (WEIXIN_CORP_ID)",
            },
            Key {
                name: "corp_secret",
                need: Need::Must,
                form: Form::Secret { what: "it is empty", fits: is_said },
                remedy: "use the application's Secret as the console shows it (WEIXIN_CORP_SECRET)",
            },
            Key {
                name: "agent_id",
                need: Need::Must,
                form: Form::Number { what: "this is no application", fits: |agent| agent > 0 },
                remedy: "use the application's AgentId, a number (WEIXIN_AGENT_ID)",
            },
            Key {
                name: "to_user",
                need: Need::May,
                form: Form::Text { what: "these are no users", fits: |t| are(t, MAX_USERS) },
                remedy: "use the users' ids joined by |, at most 1000, or @all (WEIXIN_TO_USER)",
            },
            Key {
                name: "to_party",
                need: Need::May,
                form: Form::Text { what: "these are no parties", fits: |t| are(t, MAX_GROUPS) },
                remedy: NO_RECEIVERS,
            },
            Key {
                name: "to_tag",
                need: Need::May,
                form: Form::Text { what: "these are no tags", fits: |t| are(t, MAX_GROUPS) },
                remedy: NO_RECEIVERS,
            },
            Key {
                name: "duplicate_check_s",
                need: Need::May,
                form: Form::Number {
                    what: "this is out of range",
                    fits: |seconds| (1..=14_400).contains(&seconds),
                },
                remedy: "use 1 to 14400 (seconds), or remove the key",
            },
        ]
    }

    fn check(&self, target: &Target) -> Result<(), (&'static str, String, &'static str)> {
        if RECEIVERS.iter().any(|(key, _)| target.text(key).is_some()) {
            return Ok(());
        }
        let remedy = "set to_user (WEIXIN_TO_USER), to_party or to_tag";
        Err(("to_user", "the channel tells nobody".to_owned(), remedy))
    }

    fn can_edit(&self, _: &Target) -> bool {
        false
    }

    fn idempotent(&self) -> bool {
        false
    }

    /// A member gets about thirty in any minute; what is more WeCom drops and says nothing.
    fn rate(&self) -> Rate {
        Rate { per_minute: 20, burst: 10 }
    }

    fn request(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let number = n.shown_number();
        send(&wecom_text(&n.message(&number)), MAX_TEXT, target)
    }

    fn plain(&self, n: &Notification, target: &Target) -> Result<Request, String> {
        let number = n.shown_number();
        send(&wecom_text(&n.message(&number)), MAX_PLAIN_TEXT, target)
    }

    fn text(&self, message: &Message<'_>) -> String {
        wecom_text(message)
    }

    fn language(&self) -> Language {
        Language::SimplifiedChinese
    }

    fn outcome(&self, response: &Response) -> Verdict {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match (reply["errcode"].as_i64(), http_verdict(response)) {
            (Some(0), Verdict::Delivered(_)) => {
                let id = reply["msgid"].as_str().map(str::to_owned);
                match missed(&reply) {
                    None => Verdict::Delivered(id),
                    Some(missed) => Verdict::DeliveredInPart { message: id, missed },
                }
            }
            (None, Verdict::Delivered(_)) => {
                Verdict::Ambiguous(format!("status {} without an errcode", response.status))
            }
            (Some(0) | None, verdict) => verdict,
            (Some(code), _) => by_code(code, &reply, response),
        }
    }

    fn access(&self, target: &Target) -> Option<Result<Request, String>> {
        let ask = || {
            let corp = target.text("corp_id").ok_or("the channel has no corp_id")?;
            let secret = target.secret("corp_secret").ok_or("the channel has no corp_secret")?;
            let query = [("corpid", corp), ("corpsecret", secret.expose_secret())];
            let url = address(target, "gettoken", &query)?;
            Ok(Request::Http { method: Method::GET, url, headers: Vec::new(), body: Vec::new() })
        };
        Some(ask())
    }

    fn grant(&self, response: &Response) -> Result<Grant, Verdict> {
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match (reply["errcode"].as_i64(), http_verdict(response)) {
            (Some(0), Verdict::Delivered(_)) => {
                let token = reply["access_token"].as_str().filter(|token| is_said(token));
                let lasts = reply["expires_in"].as_u64().map(Duration::from_secs);
                let granted = token.zip(lasts);
                let (token, lasts) =
                    granted.ok_or_else(|| again("errcode 0 without a token".to_owned()))?;
                Ok(Grant { token: SecretString::from(token), lasts })
            }
            (None, Verdict::Delivered(_)) => {
                Err(again(format!("status {} without an errcode", response.status)))
            }
            (Some(0) | None, verdict) => Err(verdict),
            (Some(code @ (40001 | 40013)), _) => Err(Verdict::Refused(format!(
                "{} (set the channel's corp_id and corp_secret to the application's: \
                 WEIXIN_CORP_ID, WEIXIN_CORP_SECRET)",
                reason(code, &reply)
            ))),
            (Some(code @ (60020 | 45009 | 45033)), _) => Err(by_code(code, &reply, response)),
            (Some(code), _) => Err(again(reason(code, &reply))),
        }
    }
}

/// The configuration's names of receivers, and WeCom's.
const RECEIVERS: [(&str, &str); 3] =
    [("to_user", "touser"), ("to_party", "toparty"), ("to_tag", "totag")];

fn again(reason: String) -> Verdict {
    Verdict::Retry { after: None, pause_target: false, reason }
}

fn reason(code: i64, reply: &Value) -> String {
    // What follows is an id of the request and the address that asked.
    let said = reply["errmsg"].as_str().unwrap_or_default();
    let said = said.split(", hint:").next().unwrap_or_default();
    format!("errcode {code}: {}", excerpt(said))
}

/// What an `errcode` other than 0 means: nobody was told.
fn by_code(code: i64, reply: &Value, response: &Response) -> Verdict {
    let reason = reason(code, reply);
    let advice = |advice: &str| Verdict::Refused(format!("{reason} ({advice})"));
    let later = |after: Option<Duration>| Verdict::Retry {
        after: retry_after(response).max(after),
        pause_target: true,
        reason: reason.clone(),
    };
    match code {
        40001 | 40014 | 42001 => Verdict::Renew(reason),
        // Busy; too many at once.
        -1 | 45033 => later(None),
        45009 => later(Some(MINUTE)),
        81013 => advice(
            "none of the receivers is known, or may see the application: set the channel's \
             to_user (WEIXIN_TO_USER), and let them see it in the console",
        ),
        40003 | 60111 => advice("set the channel's to_user (WEIXIN_TO_USER) to ids of users"),
        40056 | 301002 | 48002 => {
            advice("set the channel's agent_id (WEIXIN_AGENT_ID) to the application of the secret")
        }
        60020 => advice(
            "this machine's address is not among those the application trusts: add it in the \
             console",
        ),
        // Too long, or not as it should be put.
        40008 | 40033 | 40035 | 40058 | 44004 | 45002 | 47001 => Verdict::TryPlain(reason),
        _ => Verdict::Refused(reason),
    }
}

/// Who was not told although others were.
fn missed(reply: &Value) -> Option<String> {
    let told = ["invaliduser", "invalidparty", "invalidtag", "unlicenseduser"]
        .iter()
        .filter_map(|key| Some((key, reply[key].as_str().filter(|ids| is_said(ids))?)));
    let missed: Vec<String> = told.map(|(key, ids)| format!("{key} {}", excerpt(ids))).collect();
    (!missed.is_empty()).then(|| missed.join(", "))
}

fn send(text: &str, limit: usize, target: &Target) -> Result<Request, String> {
    let token = target.access.as_ref().ok_or("there is no access token")?;
    // A text may hold links (`<a href=`), so no `<` is left in it.
    let text = text.replace('<', "＜");
    let mut body = json!({
        "msgtype": "text",
        "agentid": target.number("agent_id"),
        "text": { "content": cut(&text, limit, char::len_utf8) },
        "safe": 0,
    });
    for (key, name) in RECEIVERS {
        if let Some(ids) = target.text(key) {
            body[name] = json!(ids);
        }
    }
    if let Some(seconds) = target.number("duplicate_check_s") {
        body["enable_duplicate_check"] = json!(1);
        body["duplicate_check_interval"] = json!(seconds);
    }
    let query = [("access_token", token.expose_secret())];
    Ok(Request::post_json(address(target, "message/send", &query)?, &body))
}

/// `<base>/cgi-bin/<call>?…`. Errors show nothing of it.
fn address(target: &Target, call: &str, query: &[(&str, &str)]) -> Result<Url, String> {
    let base = target.address("url").map_or(OFFICIAL, Url::as_str).trim_end_matches('/');
    Url::parse_with_params(&format!("{base}/cgi-bin/{call}"), query)
        .map_err(|_| "the url makes no address".to_owned())
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'|')
}

/// Ids joined by `|`.
fn are(text: &str, most: usize) -> bool {
    let ids: Vec<&str> = text.split('|').collect();
    ids.len() <= most && ids.into_iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channels::tests::{notification, parts, response},
        config::tests::target_of,
    };

    fn config() -> Value {
        json!({
            "kind": "wecom-app", "corp_id": "ww0123456789abcdef", "corp_secret": "hunter2/+ secret",
            "agent_id": "1000002", "to_user": "ada|bob",
        })
    }

    fn target(more: Value) -> Target {
        let mut config = config();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target_of(config).unwrap()
    }

    fn admitted(more: Value) -> Target {
        Target { access: Some(SecretString::from("t/oken")), ..target(more) }
    }

    #[test]
    fn r39_the_token_is_asked_for_with_the_apps_credentials() {
        let asked = |target: &Target| match WecomApp.access(target).unwrap().unwrap() {
            Request::Http { method, url, headers, body } => {
                assert_eq!((method, headers.len(), body.len()), (Method::GET, 0, 0));
                url.to_string()
            }
            _ => panic!("not asked by HTTP"),
        };
        let query = "gettoken?corpid=ww0123456789abcdef&corpsecret=hunter2%2F%2B+secret";
        assert_eq!(
            asked(&target(json!({}))),
            format!("https://qyapi.weixin.qq.com/cgi-bin/{query}")
        );
        let own = json!({ "url": "https://wecom.example.com/proxy/" });
        assert_eq!(asked(&target(own)), format!("https://wecom.example.com/proxy/cgi-bin/{query}"));

        let granted = |body: Value| WecomApp.grant(&response(200, None, &body.to_string()));
        let ok = json!({"errcode": 0, "errmsg": "ok", "access_token": "t", "expires_in": 7200});
        let Ok(Grant { token, lasts }) = granted(ok) else { panic!("not granted") };
        assert_eq!((token.expose_secret(), lasts.as_secs()), ("t", 7_200));
        let verdict = |body: Value| granted(body).err().unwrap();
        let said = |verdict: Verdict| match verdict {
            Verdict::Refused(reason) => reason,
            other => panic!("{other:?}"),
        };
        let wrong =
            json!({"errcode": 40001, "errmsg": "invalid credential, hint: [17], from ip: 1"});
        let reason = said(verdict(wrong));
        assert!(reason.starts_with("errcode 40001: invalid credential ("), "{reason}");
        assert!(reason.contains("WEIXIN_CORP_SECRET"), "{reason}");
        assert!(said(verdict(json!({"errcode": 60020}))).contains("address"));
        let codes = [0, -1, 45009, 31415].map(|code| json!({ "errcode": code }));
        for body in codes.into_iter().chain([json!({}), json!("x")]) {
            assert!(matches!(verdict(body), Verdict::Retry { .. }));
        }
    }

    #[test]
    fn r39_the_text_goes_to_the_configured_receivers() {
        let n = notification();
        let (url, _, body) = parts(WecomApp.request(&n, &admitted(json!({}))).unwrap());
        let expect = "https://qyapi.weixin.qq.com/cgi-bin/message/send?access_token=t%2Foken";
        assert_eq!(url, expect);
        let expect = json!({
            "touser": "ada|bob", "agentid": 1_000_002, "msgtype": "text", "safe": 0,
            "text": { "content": wecom_text(&n.message("INC-20260102-007")) },
        });
        assert_eq!(body, expect);
        let more = json!({ "to_party": "2", "to_tag": 3, "duplicate_check_s": 600 });
        let (_, _, body) = parts(WecomApp.request(&n, &admitted(more)).unwrap());
        assert_eq!((&body["toparty"], &body["totag"]), (&json!("2"), &json!("3")));
        let check = (&body["enable_duplicate_check"], &body["duplicate_check_interval"]);
        assert_eq!(check, (&json!(1), &json!(600)));
        let without = WecomApp.request(&n, &target(json!({}))).err().unwrap();
        assert_eq!(without, "there is no access token");
    }

    #[test]
    fn a6_a_text_is_cut_in_bytes_and_links_nowhere() {
        let mut n = notification();
        n.facts.title = "<a href=\"https://evil.example\">界</a>".to_owned();
        n.facts.url = Some(format!("https://example.com/{}", "界".repeat(2_000)));
        n.facts.culprit = Some("界".repeat(2_000));
        n.facts.service = Some("界".repeat(2_000));
        n.facts.environment = Some("🦀".repeat(2_000));
        for (plain, limit) in [(false, MAX_TEXT), (true, MAX_PLAIN_TEXT)] {
            let target = admitted(json!({}));
            let request =
                if plain { WecomApp.plain(&n, &target) } else { WecomApp.request(&n, &target) };
            let (_, _, body) = parts(request.unwrap());
            let text = body["text"]["content"].as_str().unwrap();
            assert!((limit - 4..=limit).contains(&text.len()), "{}", text.len());
            assert!(text.ends_with('…') && !text.contains('<') && text.contains("＜a href"));
        }
    }

    fn check(status: u16, body: Value, expect: Verdict) {
        let got = WecomApp.outcome(&response(status, None, &body.to_string()));
        assert_eq!(got, expect, "{status} {body}");
    }

    #[test]
    fn a7_what_each_answer_means() {
        let taken = |more: Value| {
            let mut body = json!({"errcode": 0, "errmsg": "ok", "msgid": "m1"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        check(200, taken(json!({"invaliduser": ""})), Verdict::Delivered(Some("m1".into())));
        let part = Verdict::DeliveredInPart {
            message: Some("m1".into()),
            missed: "invaliduser bob|eve, invalidtag 7".into(),
        };
        check(200, taken(json!({"invaliduser": "bob|eve", "invalidtag": "7"})), part);
        check(200, json!({}), Verdict::Ambiguous("status 200 without an errcode".into()));

        let failed = |code: i64| json!({"errcode": code, "errmsg": "why, hint: [17], more"});
        let why = |code: i64| format!("errcode {code}: why");
        for code in [40001, 40014, 42001] {
            check(200, failed(code), Verdict::Renew(why(code)));
        }
        for (code, after) in [(-1, None), (45033, None), (45009, Some(MINUTE))] {
            let later = Verdict::Retry { after, pause_target: true, reason: why(code) };
            check(200, failed(code), later);
        }
        for code in [40058, 44004, 45002] {
            check(200, failed(code), Verdict::TryPlain(why(code)));
        }
        check(200, failed(31_415), Verdict::Refused(why(31_415)));
        for (code, named) in [
            (81013, "WEIXIN_TO_USER"),
            (60020, "address"),
            (301002, "agent_id"),
            (40056, "agent_id"),
        ] {
            let verdict = WecomApp.outcome(&response(200, None, &failed(code).to_string()));
            let Verdict::Refused(reason) = verdict else { panic!("{code}: {verdict:?}") };
            assert!(reason.starts_with(&why(code)) && reason.contains(named), "{reason}");
        }
        check(404, json!({}), Verdict::Refused("status 404".into()));
    }

    #[test]
    fn errors_name_key_problem_and_remedy() {
        let check = |key: &str, value: Value, expect: &str| {
            let mut config = config();
            config[key] = value;
            let error = target_of(config).unwrap_err();
            assert!(error.contains(expect) && !error.contains("hunter2"), "{error}");
        };
        check("corp_id", json!("a b"), "channels.out.corp_id: this is no id of a corporation");
        check("corp_secret", json!(" "), "channels.out.corp_secret: it is empty; use the");
        check("agent_id", json!("x"), "channels.out.agent_id: this is no application; use");
        check("to_user", json!("a||b"), "channels.out.to_user: these are no users; use");
        check("to_user", json!(vec!["u"; 1_001].join("|")), "these are no users");
        check("duplicate_check_s", json!(14_401), "out of range; use 1 to 14400");
        let mut nobody = config();
        nobody.as_object_mut().unwrap().remove("to_user");
        let error = target_of(nobody).unwrap_err();
        assert!(error.contains("channels.out.to_user: the channel tells nobody; set"), "{error}");
        target_of(json!({
            "kind": "wecom-app", "corp_id": "ww1", "corp_secret": "s", "agent_id": 1, "to_tag": "7",
        }))
        .unwrap();
        let shown = admitted(json!({})).hide_credentials("no t/oken, no hunter2/+ secret");
        assert_eq!(shown, "no …, no …");
    }
}
