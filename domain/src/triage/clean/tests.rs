use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(given: &str, want: &str) {
    assert_eq!(clean(given), want, "{given}");
}

#[test]
fn links_mentions_and_markup_are_taken_out() {
    for (given, want) in [
        ("見[這裡](https://evil.example/x)處理", "見這裡處理"),
        ("看https://evil.example/a?b=c，然後重啟", "看，然後重啟"),
        ("<https://evil.example|點我>", "點我"),
        ("go to www.evil.example/x now", "go to  now"),
        ("go to login.evil.com/x now", "go to  now"),
        ("javascript:alert(1)", ""),
        ("<at id=all></at>@all <!channel> <@U123> @here", "all   here"),
        ("<<at>at id=all>x", "x"),
        ("ht<b>tps://evil.example/", ""),
        ("**重要** `kubectl get pods`\n## 標題", "重要 kubectl get pods\n標題"),
        ("```sh\nls\n```", "ls"),
        ("SELECT * FROM a WHERE x < 5 AND y > 3", "SELECT * FROM a WHERE x < 5 AND y > 3"),
        ("com.example.app.Foo@1f", "com.example.app.Foo1f"),
        ("main.py:evil.com/x", "main.py:"),
        ("app.main.get_recommend in main.py:3", "app.main.get_recommend in main.py:3"),
        ("a\u{202e}b\u{200b}c\u{7}d", "abcd"),
    ] {
        check(given, want);
    }
}

#[test]
fn letters_that_only_look_different_hide_nothing() {
    for (given, want) in [
        ("ｈｔｔｐｓ：／／ｅｖｉｌ．ｅｘａｍｐｌｅ／ｘ 結束", "結束"),
        ("𝗁𝗍𝗍𝗉𝗌://evil.example 𝐞𝐯𝐢𝐥.com", ""),
        ("ⓔⓥⓘⓛ.com/x", ""),
        ("evil。com", ""),
        ("evil｡com/login", ""),
        ("evil․com", ""),
        ("＠all ﹫here", "all here"),
        ("＜at id=all＞＜/at＞大家", "大家"),
        ("h\u{200d}ttps://evil.example", ""),
        ("evil.c\u{200c}om", ""),
        ("evil.\u{fe0f}com/x", ""),
        ("ev\u{34f}il\u{2060}.com", ""),
        ("https:\u{338}//evil.example", ""),
        ("&lt;at id=all&gt;大家&lt;/at&gt;", "大家"),
        ("&#60;at id=all&#x3E;大家", "大家"),
        ("&amp;lt;b&amp;gt;粗", "粗"),
        ("https&colon;&sol;&sol;evil.example", ""),
        ("data:text/html,<b>x", ""),
        ("例え.com", "例えcom"),
        ("請看evil.com/x", "請看"),
    ] {
        check(given, want);
    }
}

#[test]
fn what_a_chat_makes_clickable_is_taken_out_whatever_it_ends_in() {
    for (given, want) in [
        ("go to login-corp.ai/reset now", "go to  now"),
        ("看evil.de/x處理", "看處理"),
        ("evil.gg", ""),
        ("evil.us, evil.cloud", ","),
        ("Evil.GG", ""),
        ("a.evil.furniture/x", ""),
        ("evil.photography?next=1", ""),
        ("evil.photography#top", ""),
        ("evil.photography:8443 開啟", "開啟"),
        ("evil.py:8080/x", ""),
        ("evil.furniture./x", ""),
        ("ｅｖｉｌ．ｆｕｒｎｉｔｕｒｅ／ｘ", ""),
        ("evil.furni\u{200b}ture/x", ""),
        ("evil.xn--p1ai", ""),
        ("例え.furniture/x", "例えfurniture/x"),
        ("例え.cloud", "例えcloud"),
        ("/etc/evil.ai/x", "/etc/"),
        ("//evil.furniture/x", "//"),
    ] {
        check(given, want);
    }
}

#[test]
fn files_modules_and_numbers_are_no_addresses() {
    for text in [
        "app/main.py",
        "main.py:3 與 src/lib.rs:120、app.ts:88",
        "checkout.cart 的 checkout.cart?",
        "checkout.cart: total 為空",
        "v1.2/x 與 1.2.3/24、10.0.0.7:6379",
        "java.lang.NullPointerException: x",
        "at com.shop.Cart.total(Cart.java:42)",
        "config.yaml",
        "config.yaml:12 與 values.yaml#replicas、bundle.js?v=3",
        "/etc/cron.daily/backup 與 ./app.egg/x、~/work.old/y",
        "db.prod.svc:5432、db.prod.svc.cluster.local:5432/shop",
        "p99.9 > 3.5s",
    ] {
        check(text, text);
    }
}

#[test]
fn commands_lose_their_slash_and_paths_do_not() {
    for (given, want) in [
        ("/resolve INC-20260101-001", "resolve INC-20260101-001"),
        ("請按 /ack。", "請按 ack。"),
        ("（/silence 24h）", "（silence 24h）"),
        ("／Resolve 1", "Resolve 1"),
        ("看 /var/log 與 /status/check、/top.sh", "看 /var/log 與 /status/check、/top.sh"),
        ("and/or; /healthz 500", "and/or; /healthz 500"),
    ] {
        check(given, want);
    }
}

/// Pieces that links, mentions and markup are made of.
const PIECES: [&str; 40] = [
    "http",
    "https://",
    "://",
    "：／／",
    "<",
    ">",
    "<at id=all>",
    "@",
    "＠",
    "﹫",
    "[x](",
    "[",
    "]",
    "(",
    ")",
    "|",
    "&lt;",
    "&amp;",
    "&#64;",
    "&",
    ";",
    "evil",
    ".com",
    ".",
    "。",
    "．",
    "/",
    "/ack",
    "**",
    "~~",
    "`",
    "\u{200b}",
    "\u{200d}",
    "\u{338}",
    "\u{fe0f}",
    "ｈｔｔｐ",
    "𝗁",
    "javascript:",
    "\n# ",
    "字",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// However they are put together, nothing of them is left, and cleaning again changes nothing.
    #[test]
    fn nothing_is_put_together_by_taking_apart(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24)
    ) {
        let given = pieces.concat();
        let got = clean(&given);
        for forbidden in ["@", "＠", "﹫", "://", "：／／", "**", "~~", "`", "<at", "&lt;", "javascript:h"] {
            prop_assert!(!got.contains(forbidden), "{forbidden} of {given:?} in {got:?}");
        }
        // `evil.comhttp` and `evil.com.字` are no hosts that there are.
        let goes_on = |rest: &str| {
            let next = rest.chars().next().map_or(' ', unfold);
            next.is_ascii_alphanumeric() || "._-。".contains(next)
        };
        let host = got.split("evil.com").skip(1).any(|rest| !goes_on(rest));
        prop_assert!(!host, "{given:?}: {got:?}");
        prop_assert_eq!(clean(&got), got, "{:?}", given);
    }
}

#[test]
fn text_that_is_only_text_stays() {
    for text in [
        "連線池耗盡。io 等待過長；請先備份（重要）：再重啟。",
        "［重要］（請先備份）",
        "👨‍👩‍👧 ❤️ 1. 重啟 app.main，2. 查 log",
        "p99 > 3 s & CPU < 5 %",
        "é ü ñ",
    ] {
        check(text, text);
    }
}
