//! The pages: who gets in, who sees what, and what the live stream tells whom.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, redirect::Policy};
use sqlx::Executor;

use crate::query::desk::{ANN, BEN, Desk, Sample, samples};

/// A browser that keeps no cookies by itself and follows nothing.
struct Browser {
    http: Client,
    url: String,
}

impl Browser {
    fn new(desk: &Desk) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { http, url: desk.url().to_owned() }
    }

    fn ask(&self, method: Method, path: &str, cookie: Option<&str>) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> Response {
        self.ask(Method::GET, path, cookie).send().await.unwrap()
    }

    /// A form as `origin` would send it; absent: as something that is no browser.
    async fn post(
        &self,
        path: &str,
        form: &str,
        cookie: Option<&str>,
        origin: Option<&str>,
    ) -> Response {
        let request = self
            .ask(Method::POST, path, cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// Signs in and returns the cookie.
    async fn sign_in(&self, key: &str) -> String {
        let answer = self.post("/sign-in", &format!("key={key}"), None, Some(&self.url)).await;
        assert_eq!(answer.status(), 303);
        let set = header(&answer, "set-cookie");
        set.split(';').next().unwrap().to_owned()
    }
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
}

/// A live stream, read event by event.
struct Live {
    answer: Response,
    rest: String,
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    name: String,
    id: String,
    data: String,
}

impl Live {
    async fn open(browser: &Browser, path: &str, cookie: &str, last: Option<&str>) -> Self {
        let request = browser.ask(Method::GET, path, Some(cookie));
        let request = match last {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "content-type"), "text/event-stream");
        Self { answer, rest: String::new() }
    }

    async fn next(&mut self) -> Told {
        loop {
            while let Some((event, rest)) = self.rest.split_once("\n\n") {
                let mut told = Told::default();
                for line in event.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => told.name = name.into(),
                        Some(("id", id)) => told.id = id.into(),
                        Some(("data", data)) => told.data = data.into(),
                        _ => {}
                    }
                }
                self.rest = rest.to_owned();
                if !told.name.is_empty() {
                    return told;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.chunk());
            let chunk = chunk.await.expect("an event in time").unwrap().expect("an open stream");
            self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The events up to and with the first `name`, beats left out.
    async fn until(&mut self, name: &str) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let told = self.next().await;
            let done = told.name == name;
            if done || told.name != "beat" {
                all.push(told);
            }
            if done {
                return all;
            }
        }
    }
}

/// Applies events of `sample` and moves the projector's cursor, as its lane loop would.
async fn arrive(desk: &Desk, sample: &Sample) {
    desk.apply(&[sample.opened(), sample.observed()], true).await;
    desk.sql()
        .await
        .execute(
            "insert into cursor (stage, generation, lane, seq) values ('project', 1, 0, 1) \
             on conflict (stage, generation, lane) do update set seq = cursor.seq + 1",
        )
        .await
        .unwrap();
}

/// The `nth` sample of a project that opens an incident of its own.
fn opening(project: &str, nth: usize) -> Sample {
    let mut seen = std::collections::BTreeSet::new();
    let sample = samples(400)
        .into_iter()
        .filter(|s| s.project == project && s.incident && seen.insert(s.incident_id()))
        .nth(nth);
    sample.expect("the samples have it")
}

#[tokio::test]
async fn pages_ask_for_a_session_and_say_what_browsers_may_do() {
    let desk = Desk::start().await;
    let browser = Browser::new(&desk);

    let answer = browser.get("/p/search/", None).await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "location").as_str()),
        (303, "/sign-in?next=/p/search/")
    );
    let policy = header(&answer, "content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    assert_eq!(header(&answer, "referrer-policy"), "same-origin");
    for path in ["/p/search/main", "/p/~/live"] {
        assert_eq!(browser.get(path, None).await.status(), 401, "{path}");
        assert_eq!(browser.get(path, Some("bw_session=00")).await.status(), 401, "{path}");
    }
    // Anybody gets the form and its files, by version for good.
    let form = browser.get("/sign-in?next=/p/search/", None).await;
    assert_eq!(
        (form.status().as_u16(), header(&form, "cache-control").as_str()),
        (200, "no-store")
    );
    let html = form.text().await.unwrap();
    assert!(!html.contains("<style") && !html.contains(" style=") && !html.contains("onclick"));
    let (_, rest) = html.split_once("/static/console.css?v=").unwrap();
    let css = format!("/static/console.css?v={}", rest.split_once('"').unwrap().0);
    let css = browser.get(&css, None).await;
    assert!(header(&css, "cache-control").contains("immutable"));
    let tag = header(&css, "etag");
    let again = browser.ask(Method::GET, "/static/console.css", None).header("if-none-match", tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    // Browsers are led from / to the pages; scripts get the index as before.
    let front = browser.ask(Method::GET, "/", None).header("accept", "text/html,*/*");
    let front = front.send().await.unwrap();
    assert_eq!((front.status().as_u16(), header(&front, "location").as_str()), (303, "/p/~/"));
    assert_eq!(browser.get("/", None).await.status(), 200);
    desk.stop().await;
}

#[tokio::test]
async fn r47_a_key_opens_a_session_from_our_own_form_only() {
    let desk = Desk::start().await;
    let browser = Browser::new(&desk);
    let own = browser.url.clone();

    let check = async |form: String, origin: Option<&str>, status: u16| {
        let answer = browser.post("/sign-in", &form, None, origin).await;
        assert_eq!(answer.status(), status, "{origin:?}");
        assert_eq!(header(&answer, "set-cookie").is_empty(), status != 303);
    };
    check("key=nobody".into(), Some(&own), 401).await;
    check(format!("key={ANN}"), Some("https://evil.example"), 403).await;
    check(format!("key={ANN}"), Some("null"), 403).await;
    check(format!("key={ANN}"), None, 403).await;
    check(format!("key={ANN}"), Some(&own), 303).await;

    for (next, expect) in [
        ("/p/search/", "/p/search/"),
        ("//evil.example/", "/p/~/"),
        ("https%3A//e.example", "/p/~/"),
    ] {
        let form = format!("key={ANN}&next={next}");
        let answer = browser.post("/sign-in", &form, None, Some(&own)).await;
        assert_eq!(header(&answer, "location"), expect);
        let cookie = header(&answer, "set-cookie");
        for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(flag), "{cookie}");
        }
    }

    let cookie = browser.sign_in(ANN).await;
    assert_eq!(browser.get("/p/~/", Some(&cookie)).await.status(), 200);
    // The session is for pages: the API wants a key, as before.
    assert_eq!(browser.get("/api/v1/incidents", Some(&cookie)).await.status(), 401);

    let out = async |origin: &str| browser.post("/sign-out", "", Some(&cookie), Some(origin)).await;
    assert_eq!(out("https://evil.example").await.status(), 403);
    assert_eq!(browser.get("/p/~/main", Some(&cookie)).await.status(), 200);
    assert_eq!(out(&own).await.status(), 303);
    assert_eq!(browser.get("/p/~/main", Some(&cookie)).await.status(), 401);
    desk.stop().await;
}

#[tokio::test]
async fn the_home_page_shows_the_callers_projects_only() {
    let desk = Desk::start().await;
    let browser = Browser::new(&desk);
    let (search, payments) = (opening("search", 0), opening("payments", 0));
    arrive(&desk, &search).await;
    arrive(&desk, &payments).await;
    let row = |sample: &Sample| format!("id=\"i-{}\"", sample.incident_id());

    let check = async |key: &str, path: &str, sees_search: bool, sees_payments: bool| {
        let cookie = browser.sign_in(key).await;
        let answer = browser.get(path, Some(&cookie)).await;
        assert_eq!(answer.status(), 200, "{path}");
        let html = answer.text().await.unwrap();
        assert_eq!(html.contains(&row(&search)), sees_search, "{path}");
        assert_eq!(html.contains(&row(&payments)), sees_payments, "{path}");
    };
    check(ANN, "/p/~/", true, true).await;
    check(ANN, "/p/payments/", false, true).await;
    check(BEN, "/p/~/", true, false).await;
    check(BEN, "/p/search/main", true, false).await;

    // What may not be seen is answered like what is not there.
    let cookie = browser.sign_in(BEN).await;
    for path in ["/p/payments/", "/p/nothing/", "/p/payments/main", "/p/payments/live"] {
        assert_eq!(browser.get(path, Some(&cookie)).await.status(), 404, "{path}");
    }
    // The words are the browser's, or the chosen ones.
    let chinese = browser.ask(Method::GET, "/p/~/", Some(&cookie)).header("accept-language", "zh");
    assert!(chinese.send().await.unwrap().text().await.unwrap().contains("lang=\"zh-CN\""));
    let chosen = browser.get("/p/~/?lang=zh-TW", Some(&cookie)).await;
    assert!(header(&chosen, "set-cookie").starts_with("lang=zh-TW"));
    desk.stop().await;
}

#[tokio::test]
async fn the_live_stream_tells_each_caller_of_its_projects_and_resumes() {
    let desk = Desk::start().await;
    let browser = Browser::new(&desk);
    let (ann, ben) = (browser.sign_in(ANN).await, browser.sign_in(BEN).await);
    let mut anns = Live::open(&browser, "/p/~/live", &ann, None).await;
    let mut bens = Live::open(&browser, "/p/~/live", &ben, None).await;
    // Who comes without a position is told to fetch everything.
    assert_eq!(anns.next().await.name, "resync");
    let begin = bens.next().await;
    assert_eq!(begin.name, "resync");

    let (search, payments) = (opening("search", 0), opening("payments", 0));
    arrive(&desk, &payments).await;
    let told = anns.until("counters").await;
    assert!(told.iter().any(|t| t.name == "incident" && t.data.contains("payments")), "{told:?}");
    assert!(told.iter().all(|t| !t.data.contains("ValueError")), "facts, not content: {told:?}");
    arrive(&desk, &search).await;
    let told = bens.until("counters").await;
    assert!(told.iter().any(|t| t.name == "incident" && t.data.contains("search")), "{told:?}");
    assert!(told.iter().all(|t| !t.data.contains("payments")), "{told:?}");
    let reached = told.last().unwrap().id.clone();
    drop(bens);

    // Away while another arrives: it is told on coming back, and nothing else.
    let next = opening("search", 1);
    arrive(&desk, &next).await;
    anns.until("counters").await;
    anns.until("counters").await;
    let mut bens = Live::open(&browser, "/p/~/live", &ben, Some(&reached)).await;
    let told = bens.next().await;
    let id = next.incident_id().to_string();
    assert!(
        told.name == "resync" || (told.name == "incident" && told.data.contains(&id)),
        "{told:?}"
    );

    // A position of another generation, or none at all, cannot be resumed.
    for last in ["7:0=1", "nonsense"] {
        let mut live = Live::open(&browser, "/p/search/live", &ben, Some(last)).await;
        assert_eq!(live.next().await.name, "resync", "{last}");
    }
    // A stream ends with its session, at the next beat; and with the process.
    browser.post("/sign-out", "", Some(&ben), Some(&browser.url)).await;
    bens.until("session").await;
    desk.stop().await;
}
