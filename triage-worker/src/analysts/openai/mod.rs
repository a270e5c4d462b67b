//! Any endpoint that speaks OpenAI's chat completions (OpenAI, Azure OpenAI, Ollama, vLLM, OpenClaw,
//! ...).
//!
//! Protocol: <https://platform.openai.com/docs/api-reference/chat/create>, of which only what nearly
//! all of them know is used; an endpoint that refuses a parameter is asked again without those that
//! not all know. Azure's address and header:
//! <https://learn.microsoft.com/azure/ai-services/openai/reference#chat-completions>.

mod answer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use domain::triage::{BUDGET, BUDGET_MIN, Messages, Prompt, playbook, response_format};
use futures_util::future::BoxFuture;
use reqwest::{
    Client, RequestBuilder, Url,
    header::{ACCEPT, HeaderMap, RETRY_AFTER},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Analyst, BreakerConfig, BudgetConfig, ConfigError, Failure, Means, PriceConfig, Question,
    Tokens,
    guarded::{Bounds, Form, Guarded, Model, Reply, Spent},
};

/// One endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Name in attempts, metrics and `analyzed_by`.
    #[serde(default = "openclaw")]
    pub name: String,
    /// Base address: what stands before `/chat/completions`, e.g. `http://localhost:11434/v1`. May
    /// hold a password or a key.
    pub url: SecretString,
    /// Model to ask for.
    pub model: String,
    /// The endpoint's key; sent as [`OpenAiConfig::key_header`] says.
    pub api_key: Option<SecretString>,
    /// Which header the key goes into.
    #[serde(default)]
    pub key_header: KeyHeader,
    /// `api-version` in the address, as Azure wants it.
    pub api_version: Option<String>,
    /// It runs on our own machines; asked first with `prefer_local`.
    #[serde(default)]
    pub local: bool,
    /// What it can be held to answer in.
    #[serde(default)]
    pub output: Output,
    /// Version and language of what it is told; absent: as the section says.
    pub prompt: Option<String>,
    /// Most tokens it is told; what is less important is left away before that.
    #[serde(default = "input_tokens")]
    pub input_tokens: usize,
    /// Most tokens it may write, its thoughts included.
    #[serde(default = "output_tokens")]
    pub output_tokens: u32,
    /// What that limit is called.
    #[serde(default)]
    pub output_tokens_key: OutputTokensKey,
    /// How long a question may take with all its tries, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
    /// How often it is asked again after 429, 5xx and broken connections.
    #[serde(default = "retries")]
    pub retries: u32,
    /// How many questions one process asks it at once.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
    /// When it is left alone for a while.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// What a million tokens cost.
    #[serde(default)]
    pub price: PriceConfig,
    /// The most of an hour, for all projects together.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// The most of an hour, for each project.
    #[serde(default)]
    pub project_budget: BudgetConfig,
}

/// Which header a key goes into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHeader {
    /// `Authorization: Bearer …`
    #[default]
    Authorization,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
}

/// What an endpoint can be held to answer in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// JSON of a schema.
    JsonSchema,
    /// JSON.
    #[default]
    JsonObject,
    /// Nothing; the prompt asks for JSON all the same.
    Text,
}

/// What the limit of written tokens is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputTokensKey {
    /// Known nearly everywhere.
    #[default]
    MaxTokens,
    /// What OpenAI's reasoning models want instead.
    MaxCompletionTokens,
    /// It has none.
    None,
}

fn openclaw() -> String {
    "openclaw".into()
}

fn input_tokens() -> usize {
    BUDGET
}

fn output_tokens() -> u32 {
    2_000
}

fn timeout_s() -> u64 {
    Bounds::default().timeout_s
}

fn retries() -> u32 {
    Bounds::default().retries
}

fn concurrency() -> usize {
    Bounds::default().concurrency
}

impl OpenAiConfig {
    /// An endpoint with nothing but defaults.
    pub fn new(url: impl Into<SecretString>, model: impl Into<String>) -> Self {
        Self {
            name: openclaw(),
            url: url.into(),
            model: model.into(),
            api_key: None,
            key_header: KeyHeader::default(),
            api_version: None,
            local: false,
            output: Output::default(),
            prompt: None,
            input_tokens: input_tokens(),
            output_tokens: output_tokens(),
            output_tokens_key: OutputTokensKey::default(),
            timeout_s: timeout_s(),
            retries: retries(),
            concurrency: concurrency(),
            breaker: BreakerConfig::default(),
            price: PriceConfig::default(),
            budget: BudgetConfig::default(),
            project_budget: BudgetConfig::default(),
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            timeout_s: self.timeout_s,
            retries: self.retries,
            concurrency: self.concurrency,
            breaker: self.breaker,
            price: self.price,
            budget: self.budget,
            project_budget: self.project_budget,
        }
    }

    /// What it is told; `usual` where it has no prompt of its own.
    fn prompt(&self, usual: &'static Prompt) -> Result<&'static Prompt, String> {
        self.prompt.as_deref().map_or(Ok(usual), Prompt::find).map_err(|e| e.to_string())
    }

    /// Where it is asked. An error is what is wrong; the address may hold a key and is not repeated.
    fn endpoint(&self) -> Result<Url, String> {
        let url = self.url.expose_secret();
        let mut endpoint: Url = url.parse().map_err(|e| format!("url is not a url: {e}"))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err("url is neither http nor https".into());
        }
        if endpoint.path().ends_with("/chat/completions") {
            return Err("url ends with /chat/completions; give what stands before it".into());
        }
        let path = format!("{}/chat/completions", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        if let Some(version) = &self.api_version {
            endpoint.query_pairs_mut().append_pair("api-version", version);
        }
        Ok(endpoint)
    }

    fn check(&self) -> Result<Url, String> {
        if self.name.trim().is_empty() || self.name.eq_ignore_ascii_case(playbook::NAME) {
            return Err(format!("name must not be empty or {}", playbook::NAME));
        }
        if self.model.trim().is_empty() {
            return Err("model is empty; name the model to ask for".into());
        }
        if self.input_tokens < BUDGET_MIN {
            return Err(format!(
                "input_tokens is too few for a prompt; give at least {BUDGET_MIN}"
            ));
        }
        if self.output_tokens == 0 {
            return Err("output_tokens is 0; give at least what an answer needs".into());
        }
        self.bounds().check()?;
        let key = self.api_key.as_ref().map(ExposeSecret::expose_secret);
        if key.is_some_and(|key| key.is_empty() || !key.bytes().all(|b| (0x21..0x7f).contains(&b)))
        {
            return Err("api_key is empty or has characters that no header can have".into());
        }
        self.endpoint()
    }
}

/// The analyst of an endpoint; asks nobody yet.
pub(super) fn build(
    config: &OpenAiConfig,
    means: &Means,
    prompt: &'static Prompt,
) -> Result<Box<dyn Analyst>, ConfigError> {
    let wrong = |reason| ConfigError::Analyst { name: config.name.clone(), reason };
    let endpoint = config.check().map_err(wrong)?;
    let prompt = config.prompt(prompt).map_err(wrong)?;
    let (local, bounds) = (config.local, config.bounds());
    let model = OpenAi { config: config.clone(), endpoint, client: means.client.clone(), prompt };
    Ok(Box::new(Guarded::new(model, local, bounds, means.store.clone(), means.health.clone())))
}

/// Asks one endpoint.
struct OpenAi {
    config: OpenAiConfig,
    endpoint: Url,
    client: Client,
    prompt: &'static Prompt,
}

impl OpenAi {
    fn messages(&self, question: &Question) -> Messages {
        question.input.messages(self.prompt, &self.config.name, self.config.input_tokens)
    }

    fn body(&self, messages: &Messages, form: Form) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        put("model", json!(self.config.model));
        put(
            "messages",
            json!([
                { "role": "system", "content": messages.system },
                { "role": "user", "content": messages.user },
            ]),
        );
        if form == Form::Whole {
            put("temperature", json!(0));
            match self.config.output {
                Output::JsonSchema => put("response_format", response_format()),
                Output::JsonObject => put("response_format", json!({ "type": "json_object" })),
                Output::Text => {}
            }
        }
        if form != Form::Bare {
            let most = json!(self.config.output_tokens);
            match self.config.output_tokens_key {
                OutputTokensKey::MaxTokens => put("max_tokens", most),
                OutputTokensKey::MaxCompletionTokens => put("max_completion_tokens", most),
                OutputTokensKey::None => {}
            }
        }
        Value::Object(body)
    }

    fn request(&self, question: &Question, form: Form, body: &Value) -> RequestBuilder {
        let of_form = match form {
            Form::Whole => "",
            Form::Plain => "-plain",
            Form::Bare => "-bare",
        };
        let key = format!("{}-{}{of_form}", question.job, self.config.name_in_header());
        let request = self
            .client
            .post(self.endpoint.clone())
            // The time limit is kept outside, over all tries; this one only ends what nobody ends.
            .timeout(Duration::from_secs(self.config.timeout_s) * 2)
            .header(ACCEPT, "application/json")
            // The same for every try and every worker: who keeps answers may give it once more.
            // Another body has another key, or the kept refusal of the first is what comes back.
            .header("idempotency-key", key)
            .json(body);
        match (&self.config.api_key, self.config.key_header) {
            (None, _) => request,
            (Some(key), KeyHeader::Authorization) => request.bearer_auth(key.expose_secret()),
            (Some(key), KeyHeader::ApiKey) => request.header("api-key", key.expose_secret()),
        }
    }

    async fn exchange(&self, question: &Question, form: Form) -> Reply {
        let messages = self.messages(question);
        let body = self.body(&messages, form);
        let response = match self.request(question, form, &body).send().await {
            Ok(response) => response,
            Err(e) => return lost(&e),
        };
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        if response.status().is_success() {
            return match answer::read(response, answer::ANSWER_MAX).await {
                Ok(bytes) => answer::judge(&bytes, &self.config, &messages),
                Err(failure) => Reply::failed(failure, Spent::Unknown),
            };
        }
        // What a refusal says is looked at where it tells one from another, and nowhere else: an
        // endpoint that is unwell may take its time for it.
        let body = match answer::says_why(status) {
            true => answer::read(response, answer::ERROR_MAX).await.unwrap_or_default(),
            false => Vec::new(),
        };
        // It costs a call and no tokens.
        let failure = answer::refusal(status, &body, retry_after, form);
        Reply::failed(failure, Spent::Tokens(Tokens::default()))
    }
}

impl OpenAiConfig {
    /// The name as far as a header can have it.
    fn name_in_header(&self) -> String {
        self.name.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
    }
}

/// In our own words: the client's texts hold the address.
fn lost(e: &reqwest::Error) -> Reply {
    if e.is_connect() {
        return Reply::failed(Failure::NotReached, Spent::NoCall);
    }
    Reply::failed(Failure::BrokenOff, Spent::Unknown)
}

/// The longest patience that is believed: nothing waits as long, and times stay in their range.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// `Retry-After` in seconds, or in milliseconds as OpenAI and Azure give it as well. A date would
/// need a clock: it counts as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let millis = number("retry-after-ms").map(|ms| ms / 1e3);
    let seconds = millis.or_else(|| number(RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok().map(|patience| patience.min(PATIENCE_MAX))
}

impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn model(&self) -> &str {
        &self.config.model
    }

    fn size(&self, question: &Question) -> Tokens {
        let input = self.messages(question).tokens() as u64;
        Tokens { input, output: u64::from(self.config.output_tokens) }
    }

    fn call<'a>(&'a self, question: &'a Question, form: Form) -> BoxFuture<'a, Reply> {
        Box::pin(self.exchange(question, form))
    }
}
