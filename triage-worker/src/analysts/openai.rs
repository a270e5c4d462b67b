//! Any endpoint that speaks OpenAI's chat completions (OpenAI, Ollama, vLLM, OpenClaw, ...).
//!
//! Protocol: <https://platform.openai.com/docs/api-reference/chat/create>, of which only `model`,
//! `messages`, `temperature` and `response_format` are used, because that much all of them know.

use std::time::Duration;

use domain::triage::{Prompt, check, context, playbook};
use futures_util::future::BoxFuture;
use reqwest::{Client, Response, Url, header::ACCEPT};
use schemas::job::Analysis;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Analyst, ConfigError, Failure, Question};

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1024 * 1024;

/// One endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Name in attempts, metrics and `analyzed_by`.
    #[serde(default = "openclaw")]
    pub name: String,
    /// Base address: what stands before `/chat/completions`, e.g. `http://localhost:11434/v1`.
    pub url: String,
    /// Model to ask for.
    pub model: String,
    /// Sent as bearer token when set.
    pub api_key: Option<SecretString>,
    /// It runs on our own machines; asked first with `prefer_local`.
    #[serde(default)]
    pub local: bool,
    /// How long to wait for an answer, in seconds.
    #[serde(default = "minute")]
    pub timeout_s: u64,
}

fn openclaw() -> String {
    "openclaw".into()
}

fn minute() -> u64 {
    60
}

/// Asks one endpoint.
pub struct OpenAi {
    config: OpenAiConfig,
    endpoint: Url,
    client: Client,
    prompt: &'static Prompt,
}

impl OpenAi {
    /// Checks the configuration; asks nobody yet.
    pub fn new(config: OpenAiConfig, client: Client) -> Result<Self, ConfigError> {
        let wrong = |reason: String| ConfigError::Analyst { name: config.name.clone(), reason };
        let text = format!("{}/chat/completions", config.url.trim_end_matches('/'));
        // The address may hold a key, so it is not repeated.
        let endpoint: Url = text.parse().map_err(|e| wrong(format!("url is not a url: {e}")))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(wrong("url is neither http nor https".into()));
        }
        if config.timeout_s == 0 {
            return Err(wrong("timeout_s is 0; give at least 1".into()));
        }
        if config.name.is_empty() || config.name.eq_ignore_ascii_case(playbook::NAME) {
            return Err(wrong(format!("name must not be empty or {}", playbook::NAME)));
        }
        Ok(Self { config, endpoint, client, prompt: Prompt::builtin() })
    }

    async fn ask(&self, question: &Question) -> Result<Analysis, Failure> {
        let messages = self.prompt.messages(&context(&question.facts), &self.config.name);
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .timeout(self.timeout())
            .header(ACCEPT, "application/json")
            .json(&json!({
                "model": self.config.model,
                "messages": [
                    { "role": "system", "content": messages.system },
                    { "role": "user", "content": messages.user },
                ],
                "temperature": 0,
                "response_format": { "type": "json_object" },
            }));
        if let Some(key) = &self.config.api_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = request.send().await.map_err(|e| self.failure(e))?;
        if !response.status().is_success() {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let body = self.read(response).await?;
        let analysis = check(&content(&body)?)?;
        Ok(Analysis {
            // A model says what it likes; that it is the playbook is not for it to say.
            analyzed_by: if analysis.analyzed_by.eq_ignore_ascii_case(playbook::NAME) {
                self.config.name.clone()
            } else {
                analysis.analyzed_by
            },
            model: Some(self.config.model.clone()),
            ..analysis
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failure(e))? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(Failure::TooLong { limit: ANSWER_MAX });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// In our own words: the client's texts hold the address.
    fn failure(&self, e: reqwest::Error) -> Failure {
        if e.is_timeout() {
            return Failure::Timeout { seconds: self.config.timeout_s };
        }
        let what = if e.is_connect() { "no connection" } else { "connection broke off" };
        Failure::NotReached(what.into())
    }
}

/// `choices[0].message.content`.
fn content(body: &[u8]) -> Result<String, Failure> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Failure::Shape("is not json"))?;
    body.pointer("/choices/0/message/content")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or(Failure::Shape("holds no choices[0].message.content"))
}

impl Analyst for OpenAi {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn is_model(&self) -> bool {
        true
    }

    fn local(&self) -> bool {
        self.config.local
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.config.timeout_s)
    }

    fn analyse<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Analysis, Failure>> {
        Box::pin(self.ask(question))
    }
}

#[cfg(test)]
mod tests {
    use domain::triage::Unusable;
    use runtime::http_client::{ClientConfig, build};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::analysts::tests::question;

    fn analyst(url: &str, timeout_s: u64) -> Result<OpenAi, ConfigError> {
        let config = OpenAiConfig {
            name: openclaw(),
            url: url.into(),
            model: "qwen3".into(),
            api_key: Some("sk-very-secret".to_owned().into()),
            local: false,
            timeout_s,
        };
        OpenAi::new(config, build(&ClientConfig::default()).unwrap())
    }

    /// Answers one request with `response` (none: never) and returns the request's text.
    async fn serve(listener: &TcpListener, response: Option<&str>) -> String {
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
        match response {
            // The caller may hang up in the middle of what it does not want to read.
            Some(response) => drop(stream.write_all(response.as_bytes()).await),
            None => drop(stream.read(&mut chunk).await),
        }
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

    async fn check(response: Option<&str>, timeout_s: u64) -> (String, Result<Analysis, Failure>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let analyst = analyst(&url, timeout_s).unwrap();
        let question = question("KeyError: 'user'");
        tokio::join!(serve(&listener, response), analyst.analyse(&question))
    }

    #[tokio::test]
    async fn r29_a_model_is_told_the_context_and_its_answer_is_checked() {
        let text = r#"{"root_cause":"缺少 user 鍵","confidence":0.8,"analyzed_by":"Playbook"}"#;
        let (request, answer) = check(Some(&completion(text)), 5).await;
        let answer = answer.unwrap();
        assert_eq!(answer.root_cause, "缺少 user 鍵");
        assert_eq!(answer.prevention, "待補充");
        assert_eq!(answer.analyzed_by, "openclaw", "a model is no playbook");
        assert_eq!(answer.model.as_deref(), Some("qwen3"));

        assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer sk-very-secret\r\n"), "{request}");
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["model"], "qwen3");
        assert_eq!(body["response_format"], json!({"type": "json_object"}));
        assert_eq!(body["messages"][0]["role"], "system");
        let user = body["messages"][1]["content"].as_str().unwrap();
        assert!(user.contains(r#""title":"KeyError: 'user'""#), "{user}");
    }

    #[tokio::test]
    async fn r30_what_goes_wrong_has_a_name_and_no_secret() {
        let long = http("200 OK", &"x".repeat(ANSWER_MAX + 1));
        let cases: [(Option<String>, &str); 8] = [
            (Some(completion("{}")), "answer is an empty json object"),
            (Some(completion("I do not know")), "answer holds no json object"),
            (Some(http("200 OK", "{}")), "answer holds no choices[0].message.content"),
            (Some(http("200 OK", "<html>")), "answer is not json"),
            (Some(http("500 Oops", "sk-very-secret")), "status 500"),
            (Some(http("302 Found", "")), "status 302"),
            (Some(long), "answer longer than 1048576 bytes"),
            (None, "timeout after 1 s"),
        ];
        for (response, want) in cases {
            let (_, answer) = check(response.as_deref(), 1).await;
            assert_eq!(answer.unwrap_err().to_string(), want);
        }
        let gone = analyst("http://127.0.0.1:9/sk-very-secret", 5).unwrap();
        let failure = gone.analyse(&question("x")).await.unwrap_err();
        assert_eq!(failure, Failure::NotReached("no connection".into()));
        assert_eq!(Failure::from(Unusable::Empty).to_string(), "answer is an empty json object");
    }

    #[test]
    fn bad_addresses_and_names_are_refused() {
        for url in ["", "localhost:11434/v1", "ftp://example.org"] {
            let e = analyst(url, 5).err().unwrap().to_string();
            assert!(e.starts_with("analyst openclaw: url is "), "{e}");
        }
        assert!(analyst("http://localhost/v1", 0).is_err());
    }
}
