//! The pages: what people see, at `/p/{project}/`, behind a session.
//!
//! Server-rendered HTML from the same queries as the API; a small script refetches it when the live
//! stream ([`crate::live`]) says that something changed. Nothing inline: the content policy allows
//! scripts and styles of this server's files only.
//!
//! To add a page: a file here with a model made of a snapshot, a template, a route in [`router`];
//! its words in every file of [`words`].

pub mod assets;
pub mod home;
pub mod session;
pub mod text;
pub mod words;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html as Body, IntoResponse, Redirect, Response, Sse, sse::KeepAlive},
    routing::{get, post},
};
use schemas::ProjectId;
use serde::Deserialize;
use store::{Store, read::Visible};

use self::{
    home::{AiBox, Home, KnownSource, Scope},
    session::Sessions,
    words::Words,
};
use crate::{
    auth::{Keys, Principal},
    live::{Hub, Listener, Position},
    problem::Problem,
};

/// Scripts and styles from this server's files and nothing else; no frames; forms to ourselves.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// A form of ours is smaller than this, in bytes.
const MAX_FORM: usize = 16 << 10;
/// A comment that keeps proxies from closing a stream that says nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the pages work with.
#[derive(Debug)]
pub struct Pages {
    pub store: Store,
    pub keys: Arc<Keys>,
    pub sessions: Sessions,
    pub hub: Arc<Hub>,
    pub sources: Vec<KnownSource>,
    pub silent_after: Duration,
}

/// The routes of the pages.
pub fn router(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/p/{project}", get(async |Path(p): Path<String>| see(&format!("/p/{p}/"))))
        .route("/p/{project}/", get(home_page))
        .route("/p/{project}/main", get(home_main))
        .route("/p/{project}/live", get(live))
        .route("/static/{file}", get(assets::asset))
        .layer(middleware::map_response(harden))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(pages)
}

/// Sends browsers from `/` to the pages, and leaves everybody else to the API's index.
pub async fn front_door(request: Request, next: Next) -> Response {
    let browser = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if browser && request.uri().path() == "/" && request.method() == Method::GET {
        return see("/p/~/");
    }
    next.run(request).await
}

/// What every answer of the pages tells browsers not to do.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ] {
        headers.insert(name, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// 303.
fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Choices that any page takes in its address and keeps in a cookie.
#[derive(Debug, Default, Deserialize)]
struct Choices {
    lang: Option<String>,
    theme: Option<String>,
}

/// What every page shows around its content.
#[derive(Debug)]
struct Shell {
    words: &'static Words,
    /// `light`, `dark` or `system`.
    theme: &'static str,
    operator: Option<String>,
    /// Asset versions, so that a browser keeps a file until it changes.
    css: &'static str,
    js: &'static str,
    languages: [&'static Words; 3],
}

const THEMES: [&str; 3] = ["system", "light", "dark"];
const THEME: &str = "theme";

impl Shell {
    fn new(headers: &HeaderMap, choices: &Choices, operator: Option<&Principal>) -> Self {
        let theme = choices.theme.as_deref().or_else(|| session::cookie(headers, THEME));
        Self {
            words: words::of(choices.lang.as_deref(), headers),
            theme: THEMES.into_iter().find(|t| Some(*t) == theme).unwrap_or(THEMES[0]),
            operator: operator.map(|p| p.operator_id.clone()),
            css: assets::CSS.version(),
            js: assets::JS.version(),
            languages: words::ALL,
        }
    }

    fn themes(&self) -> [(&'static str, &'static str); 3] {
        let w = self.words;
        [("system", w.theme_system), ("light", w.theme_light), ("dark", w.theme_dark)]
    }

    /// The cookies that keep what was chosen in the address.
    fn keep(&self, choices: &Choices, response: &mut Response) {
        let chosen = [
            choices.lang.as_ref().map(|_| (words::CHOICE, self.words.tag)),
            choices.theme.as_ref().map(|_| (THEME, self.theme)),
        ];
        for (name, value) in chosen.into_iter().flatten() {
            let text = format!("{name}={value}; Path=/; SameSite=Lax; Max-Age=31536000");
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().append(header::SET_COOKIE, value);
            }
        }
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    shell: Shell,
    next: &'a str,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    shell: Shell,
    scope: &'a Scope,
    projects: Vec<String>,
    home: &'a Home,
}

#[derive(Template)]
#[template(path = "main.html")]
struct HomeMain<'a> {
    shell: Shell,
    scope: &'a Scope,
    home: &'a Home,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    shell: Shell,
    message: String,
}

/// A page, or 500 when its template fails, which is logged.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Body(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
struct NextQuery {
    next: Option<String>,
    #[serde(flatten)]
    choices: Choices,
}

async fn sign_in_page(
    State(pages): State<Arc<Pages>>,
    Query(query): Query<NextQuery>,
    headers: HeaderMap,
) -> Response {
    let next = session::next(query.next.as_deref());
    if pages.sessions.of(&headers).is_some() {
        return see(next);
    }
    let shell = Shell::new(&headers, &query.choices, None);
    let template = SignInPage { shell, next, problem: None };
    let mut response = page(StatusCode::OK, &template);
    template.shell.keep(&query.choices, &mut response);
    response
}

#[derive(Deserialize)]
struct SignIn {
    key: String,
    next: Option<String>,
}

async fn sign_in(
    State(pages): State<Arc<Pages>>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Response {
    let next = session::next(form.next.as_deref());
    let again = |status, problem: fn(&Words) -> &'static str| {
        let shell = Shell::new(&headers, &Choices::default(), None);
        let problem = Some(problem(shell.words));
        page(status, &SignInPage { shell, next, problem })
    };
    if !session::from_own_page(&headers) {
        return again(StatusCode::FORBIDDEN, |w| w.foreign_form);
    }
    let Some(principal) = pages.keys.holder(form.key.trim()) else {
        metrics::counter!("bellwether_console_unauthorised_total").increment(1);
        return again(StatusCode::UNAUTHORIZED, |w| w.key_wrong);
    };
    tracing::info!(operator_id = principal.operator_id, "signed in");
    let secret = pages.sessions.begin(&principal);
    let mut response = see(next);
    let cookie = session::set_cookie(&headers, Some(&secret));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

async fn sign_out(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    if !session::from_own_page(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if let Some((key, _)) = pages.sessions.of(&headers) {
        pages.sessions.end(key);
    }
    let mut response = see("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, session::set_cookie(&headers, None));
    response
}

/// What a request may see of the project in its address; absent when that is nothing.
fn scope(project: &str, principal: &Principal) -> Option<Scope> {
    let sees_all = principal.visible == Visible::Everything;
    let visible = match project {
        "~" => principal.visible.clone(),
        id => {
            let id =
                ProjectId::new(id).ok().filter(|id| principal.visible.contains(id.as_str()))?;
            Visible::Projects(vec![id])
        }
    };
    Some(Scope { path: project.to_owned(), visible, sees_all })
}

impl Pages {
    /// The session of a request and its scope; else the answer.
    fn enter(
        &self,
        project: &str,
        headers: &HeaderMap,
        choices: &Choices,
    ) -> Result<(Arc<Principal>, Scope), Box<Response>> {
        let Some((_, principal)) = self.sessions.of(headers) else {
            return Err(Box::new(see(&format!("/sign-in?next=/p/{}/", encoded(project)))));
        };
        let Some(scope) = scope(project, &principal) else {
            let shell = Shell::new(headers, choices, Some(&principal));
            let message = shell.words.no_project.replace("{what}", &text::visible(project));
            return Err(Box::new(page(StatusCode::NOT_FOUND, &MessagePage { shell, message })));
        };
        Ok((principal, scope))
    }

    async fn home(&self, scope: &Scope, words: &'static Words) -> Result<Home, Problem> {
        let silent_after = self.silent_after.as_secs() as i64;
        Ok(Home::read(&self.store, scope, &self.sources, silent_after, words).await?)
    }

    /// The projects a caller can choose from.
    async fn projects(&self, principal: &Principal) -> Result<Vec<String>, Problem> {
        let projects: BTreeSet<String> = match &principal.visible {
            Visible::Projects(ids) => ids.iter().map(|id| id.as_str().to_owned()).collect(),
            Visible::Everything => {
                let heard = self.store.view(&principal.visible).await?.heard().await?;
                let known = self.sources.iter().map(|s| s.project.as_str().to_owned());
                heard.into_iter().map(|h| h.project).chain(known).collect()
            }
        };
        Ok(projects.into_iter().collect())
    }
}

/// A path segment for a query parameter: what is no id is left out of the address.
fn encoded(project: &str) -> &str {
    if project == "~" || ProjectId::new(project).is_ok() { project } else { "~" }
}

/// The page of a failure to read, which names nothing of it.
fn unreadable(problem: &Problem, shell: Shell) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let message = shell.words.unreadable.to_owned();
    page(status, &MessagePage { shell, message })
}

async fn home_page(
    State(pages): State<Arc<Pages>>,
    Path(project): Path<String>,
    Query(choices): Query<Choices>,
    headers: HeaderMap,
) -> Response {
    let (principal, scope) = match pages.enter(&project, &headers, &choices) {
        Ok(entered) => entered,
        Err(response) => return *response,
    };
    let shell = Shell::new(&headers, &choices, Some(&principal));
    let read = async {
        let projects = pages.projects(&principal).await?;
        Ok::<_, Problem>((projects, pages.home(&scope, shell.words).await?))
    };
    let (projects, home) = match read.await {
        Ok(read) => read,
        Err(problem) => return unreadable(&problem, shell),
    };
    let template = HomePage { shell, scope: &scope, projects, home: &home };
    let mut response = page(StatusCode::OK, &template);
    template.shell.keep(&choices, &mut response);
    response
}

/// The content of the home page alone, for the script. 401 when the session is gone.
async fn home_main(
    State(pages): State<Arc<Pages>>,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Response {
    let choices = Choices::default();
    let (principal, scope) = match pages.enter(&project, &headers, &choices) {
        Ok(entered) => entered,
        Err(response) if response.status() == StatusCode::SEE_OTHER => {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        Err(response) => return *response,
    };
    let shell = Shell::new(&headers, &choices, Some(&principal));
    match pages.home(&scope, shell.words).await {
        Ok(home) => page(StatusCode::OK, &HomeMain { shell, scope: &scope, home: &home }),
        Err(problem) => unreadable(&problem, shell),
    }
}

#[derive(Debug, Deserialize)]
struct LiveQuery {
    from: Option<String>,
}

/// The live stream of a page.
async fn live(
    State(pages): State<Arc<Pages>>,
    Path(project): Path<String>,
    Query(query): Query<LiveQuery>,
    headers: HeaderMap,
) -> Response {
    let Some((key, principal)) = pages.sessions.of(&headers) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Some(scope) = scope(&project, &principal) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = last.or(query.from.as_deref()).and_then(|id| id.parse::<Position>().ok());
    let listener = match Listener::new(&pages.hub, scope.visible) {
        Ok(listener) => listener,
        Err(no_room) => {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, no_room.to_string())
                .into_response();
        }
    };
    let alive = {
        let pages = Arc::clone(&pages);
        move || pages.sessions.stands(key)
    };
    let stream = Sse::new(listener.events(from, alive));
    (
        [(HeaderName::from_static("x-accel-buffering"), "no")],
        stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)),
    )
        .into_response()
}
