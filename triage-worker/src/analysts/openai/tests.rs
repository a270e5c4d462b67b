use runtime::{
    Health,
    http_client::{ClientConfig, build as client},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{answer::ANSWER_MAX, *};
use crate::analysts::tests::question;

fn config(url: &str) -> OpenAiConfig {
    OpenAiConfig {
        api_key: Some("sk-very-secret".to_owned().into()),
        ..OpenAiConfig::new(url, "qwen3")
    }
}

fn endpoint(config: OpenAiConfig) -> OpenAi {
    let endpoint = config.check().unwrap();
    let client = client(&ClientConfig::default()).unwrap();
    let prompt = config.prompt(Prompt::builtin()).unwrap();
    OpenAi { config, endpoint, client, prompt }
}

/// Answers one request with `response` and returns the request's text.
async fn serve(listener: &TcpListener, response: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = stream.read(&mut chunk).await.unwrap();
        request.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&request);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse::<usize>().ok());
            length.is_some_and(|length| body.len() >= length)
        });
        if n == 0 || whole {
            break;
        }
    }
    // The caller may hang up in the middle of what it does not want to read.
    drop(stream.write_all(response.as_bytes()).await);
    String::from_utf8_lossy(&request).into_owned()
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn completion(content: &str) -> String {
    http("200 OK", &json!({"choices": [{"message": {"content": content}}]}).to_string())
}

/// Asks an endpoint of this configuration that answers so; the request and what came of it.
async fn ask(
    change: impl FnOnce(OpenAiConfig) -> OpenAiConfig,
    form: Form,
    response: &str,
) -> (String, Value, Reply) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let model = endpoint(change(config(&url)));
    let question = question("KeyError: 'user'");
    let (request, reply) = tokio::join!(serve(&listener, response), model.call(&question, form));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap(), reply)
}

#[tokio::test]
async fn r29_a_model_is_told_the_context_and_its_answer_is_checked() {
    let text = r#"{"root_cause":"缺少 user 鍵","confidence":0.8,"analyzed_by":"Playbook"}"#;
    let (head, body, reply) = ask(|c| c, Form::Whole, &completion(text)).await;
    let answer = reply.answer.unwrap();
    assert_eq!(answer.root_cause, "缺少 user 鍵");
    assert_eq!(answer.prevention, "待補充");
    assert_eq!(answer.analyzed_by, "openclaw", "a model is no playbook");
    assert_eq!(answer.model.as_deref(), Some("qwen3"));
    assert_eq!(answer.prompt.as_deref(), Some(Prompt::builtin().hash()));

    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer sk-very-secret"), "{head}");
    let told: Value = serde_json::from_str(&reply.told.unwrap()).unwrap();
    assert_eq!(told["alert"]["title"], "KeyError: 'user'");
    let job = question("KeyError: 'user'").job;
    assert!(head.contains(&format!("idempotency-key: {job}-openclaw")), "{head}");
    assert_eq!(body["model"], "qwen3");
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0), &json!(2_000)));
    assert_eq!(body["messages"][0]["role"], "system");
    let user = body["messages"][1]["content"].as_str().unwrap();
    assert!(user.contains("KeyError: 'user'"), "{user}");
}

#[tokio::test]
async fn r29_whose_answer_it_is_the_configuration_says() {
    for said in ["pending", "unknown", "Playbook", "王小明", "", "openclaw-2"] {
        let text = json!({"root_cause": "x", "confidence": 0.5, "analyzed_by": said}).to_string();
        let named = |config| OpenAiConfig { name: "night".into(), ..config };
        let (.., reply) = ask(named, Form::Whole, &completion(&text)).await;
        assert_eq!(reply.answer.unwrap().analyzed_by, "night", "{said}");
    }
}

#[tokio::test]
async fn r29_an_analyst_may_have_a_prompt_of_its_own() {
    let own = |prompt: &str| {
        let prompt = Some(prompt.to_owned());
        move |config| OpenAiConfig { prompt, ..config }
    };
    let (_, body, reply) =
        ask(own("v2.en"), Form::Whole, &completion(r#"{"root_cause":"x"}"#)).await;
    let english = Prompt::find("v2.en").unwrap();
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("plain text in English"));
    assert_eq!(reply.answer.unwrap().prompt.as_deref(), Some(english.hash()));

    let wrong = own("v9")(config("http://localhost/v1")).prompt(Prompt::builtin()).unwrap_err();
    assert!(wrong.starts_with("there is no prompt v9; name one of v2.zh-TW,"), "{wrong}");
}

#[tokio::test]
async fn r29_azure_has_its_own_header_and_address() {
    let azure = |config: OpenAiConfig| OpenAiConfig {
        url: config.url.expose_secret().replace("/v1/", "/openai/deployments/gpt-4o").into(),
        key_header: KeyHeader::ApiKey,
        api_version: Some("2024-10-21".into()),
        output: Output::JsonSchema,
        output_tokens_key: OutputTokensKey::MaxCompletionTokens,
        ..config
    };
    let (head, body, _) = ask(azure, Form::Whole, &completion("{}")).await;
    let line = "post /openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21 http/1.1";
    assert!(head.starts_with(line), "{head}");
    assert!(head.contains("\napi-key: sk-very-secret"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(body["max_completion_tokens"], 2_000);
    let format = &body["response_format"];
    assert_eq!(
        (&format["type"], &format["json_schema"]["strict"]),
        (&json!("json_schema"), &json!(true))
    );
    let schema = &format["json_schema"]["schema"];
    assert!(schema["properties"]["root_cause"].is_object(), "{schema}");
    // Strict schemas have to list every property and allow no other.
    assert_eq!(schema["additionalProperties"], false);
    let required = schema["required"].as_array().unwrap().len();
    assert_eq!(required, schema["properties"].as_object().unwrap().len());
}

fn keys(body: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn r29_plainly_asked_is_asked_with_what_all_know() {
    let job = question("KeyError: 'user'").job;
    let (head, body, _) = ask(|c| c, Form::Plain, &completion("{}")).await;
    assert_eq!(keys(&body), ["max_tokens", "messages", "model"]);
    assert!(head.contains(&format!("idempotency-key: {job}-openclaw-plain\r\n")), "{head}");
    let (head, body, _) = ask(|c| c, Form::Bare, &completion("{}")).await;
    assert_eq!(keys(&body), ["messages", "model"]);
    assert!(head.contains(&format!("idempotency-key: {job}-openclaw-bare\r\n")), "{head}");
    let text = |config| OpenAiConfig {
        output: Output::Text,
        output_tokens_key: OutputTokensKey::None,
        api_key: None,
        ..config
    };
    let (head, body, _) = ask(text, Form::Whole, &completion("{}")).await;
    assert_eq!(keys(&body), ["messages", "model", "temperature"]);
    assert!(!head.contains("authorization") && !head.contains("api-key"), "{head}");
}

#[tokio::test]
async fn r30_what_goes_wrong_has_a_name_and_no_secret() {
    let long = http("200 OK", &"x".repeat(ANSWER_MAX + 1));
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"choices\":[";
    let choice = |rest: &str| http("200 OK", &format!(r#"{{"choices":[{{{rest}}}]}}"#));
    let filter = r#"{"error":{"code":"content_filter","message":"sk-very-secret"}}"#;
    let too_much = r#"{"error":{"code":"context_length_exceeded"}}"#;
    for (response, word, text) in [
        (completion("{}"), "empty", "answer is an empty json object"),
        (completion("I do not know"), "no_object", "answer holds no json object"),
        (http("200 OK", "{}"), "no_content", "answer holds no choices[0].message.content"),
        (http("200 OK", "<html>sk-very-secret"), "not_json", "answer is not json"),
        (http("200 OK", r#"{"error":{"message":"x"}}"#), "error_reported", "answer is an error"),
        (
            choice(r#""message":{"content":null,"refusal":"no"}"#),
            "declined",
            "the model declines to answer",
        ),
        (
            choice(r#""finish_reason":"content_filter""#),
            "filtered",
            "a content filter held it back",
        ),
        (
            choice(r#""finish_reason":"length","message":{"content":"{\"root"}"#),
            "cut_off",
            "answer cut off at the most tokens it may have; see output_tokens",
        ),
        (http("500 Oops", "sk-very-secret"), "server_error", "status 500"),
        (http("429 Busy", ""), "rate_limited", "status 429"),
        (http("302 Found", ""), "redirected", "status 302"),
        (http("401 No", ""), "unauthorised", "status 401: see its api_key and key_header"),
        (http("404 No", ""), "refused", "status 404"),
        (http("400 No", "<html>"), "form_refused", "status 400"),
        (http("400 No", filter), "filtered", "a content filter held it back"),
        (http("400 No", too_much), "refused", "status 400"),
        (long, "too_long", "answer longer than 1048576 bytes"),
        (cut.to_owned(), "answer_broken_off", "the connection broke off in the answer"),
    ] {
        let (_, _, reply) = ask(|c| c, Form::Whole, &response).await;
        let failure = reply.answer.unwrap_err();
        assert_eq!((failure.word(), failure.to_string().as_str()), (word, text));
    }
    let (_, _, reply) = ask(|c| c, Form::Plain, &http("400 No", "")).await;
    assert_eq!(reply.answer, Err(Failure::Refused(400)));
    // The limit is left away only where it is named.
    let limit = |body: Value| http("422 No", &body.to_string());
    for (body, named) in [
        (json!({"error": {"message": "Unsupported parameter: 'max_tokens'"}}), true),
        (json!({"error": {"param": "max_completion_tokens"}}), true),
        (json!({"detail": [{"loc": ["body", "max_tokens"], "msg": "extra"}]}), true),
        (json!({"detail": [{"loc": ["body", "x"], "input": {"max_tokens": 2000}}]}), false),
        (json!({"error": {"message": "unknown field response_format"}}), false),
    ] {
        let refused = Err(Failure::FormRefused { status: 422, limit: named });
        let (_, _, reply) = ask(|c| c, Form::Whole, &limit(body.clone())).await;
        assert_eq!(reply.answer, refused, "{body}");
        let (_, _, reply) = ask(|c| c, Form::Plain, &limit(body.clone())).await;
        assert_eq!(reply.answer, if named { refused } else { Err(Failure::Refused(422)) });
        let (_, _, reply) = ask(|c| c, Form::Bare, &limit(body)).await;
        assert_eq!(reply.answer, Err(Failure::Refused(422)));
    }
    let away = endpoint(config("http://127.0.0.1:9/sk-very-secret"));
    let reply = away.call(&question("x"), Form::Whole).await;
    assert_eq!(reply, Reply::failed(Failure::NotReached, Spent::NoCall));
}

#[tokio::test]
async fn r30_an_endpoint_says_when_it_wants_to_be_asked_again() {
    for (header, want) in [
        ("retry-after: 7", Some(7_000)),
        ("retry-after: 7\r\nretry-after-ms: 250", Some(250)),
        ("retry-after: Fri, 20 Nov 2026 12:00:00 GMT", None),
        ("retry-after: -1", None),
        ("retry-after: 1e400", None),
        ("retry-after: 1e19", Some(86_400_000)),
        ("x: y", None),
    ] {
        let response = format!("HTTP/1.1 429 Busy\r\n{header}\r\ncontent-length: 0\r\n\r\n");
        let (_, _, reply) = ask(|c| c, Form::Whole, &response).await;
        let retry_after = want.map(Duration::from_millis);
        assert_eq!(reply.answer, Err(Failure::RateLimited { retry_after }), "{header}");
    }
}

#[tokio::test]
async fn a13_tokens_are_counted_by_the_endpoint_or_estimated() {
    let answer = |usage: Value| {
        let content = r#"{"root_cause":"a","confidence":1}"#;
        let body = json!({"choices": [{"message": {"content": content}}], "usage": usage});
        http("200 OK", &body.to_string())
    };
    let counted = json!({"prompt_tokens": 812, "completion_tokens": 61, "total_tokens": 873});
    let (_, _, reply) = ask(|c| c, Form::Whole, &answer(counted)).await;
    assert_eq!(reply.spent, Spent::Tokens(Tokens { input: 812, output: 61 }));
    // An estimate is of the right size, and no count makes a purse overflow.
    for usage in [Value::Null, json!({"prompt_tokens": u64::MAX, "completion_tokens": -3})] {
        let (_, body, reply) = ask(|c| c, Form::Whole, &answer(usage)).await;
        let Spent::Tokens(tokens) = reply.spent else { panic!("{:?}", reply.spent) };
        let bytes = body["messages"].to_string().len() as u64;
        assert!((bytes / 4..bytes / 2).contains(&tokens.input), "{tokens:?} of {bytes} bytes");
        assert_eq!(tokens.output, 11);
    }
    // A refusal costs nothing, an answer that cannot be used does.
    let (_, _, reply) = ask(|c| c, Form::Whole, &http("500 Oops", "")).await;
    assert_eq!(reply.spent, Spent::Tokens(Tokens::default()));
    let (_, _, reply) = ask(|c| c, Form::Whole, &completion("nonsense")).await;
    assert!(matches!(reply.spent, Spent::Tokens(Tokens { output: 3, .. })), "{:?}", reply.spent);
}

#[test]
fn bad_addresses_names_and_limits_are_refused() {
    let refused = |change: fn(&mut OpenAiConfig)| {
        let mut config = config("http://localhost/v1");
        change(&mut config);
        let means = Means {
            client: client(&ClientConfig::default()).unwrap(),
            store: None,
            health: Health::default(),
        };
        build(&config, &means, Prompt::builtin()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|_| ()), "");
    for url in ["", "localhost:11434/v1", "ftp://example.org"] {
        let config = config(url);
        assert!(config.check().unwrap_err().starts_with("url is "), "{url}");
    }
    assert!(
        refused(|c| c.url = "http://localhost/v1/chat/completions".into())
            .contains("give what stands before")
    );
    assert!(refused(|c| c.name = "PlayBook".into()).contains("name must not be"));
    assert!(refused(|c| c.model = " ".into()).contains("model is empty"));
    assert!(refused(|c| c.timeout_s = 0).contains("timeout_s is 0"));
    assert!(refused(|c| c.input_tokens = 10).contains("input_tokens is too few"));
    assert!(refused(|c| c.output_tokens = 0).contains("output_tokens is 0"));
    assert!(
        refused(|c| c.api_key = Some("a\nb".to_owned().into())).contains("api_key is empty or")
    );
    assert!(refused(|c| c.price.input = f64::NAN).contains("price must be"));
}

#[test]
fn neither_key_nor_address_is_shown() {
    let config = config("http://hush-user:hush-password@localhost/v1?key=hush-query");
    let shown = format!("{config:?}");
    assert!(shown.contains("qwen3"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains("sk-very-secret"), "{shown}");
}
