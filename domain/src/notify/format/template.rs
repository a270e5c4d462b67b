//! Texts of an operator's own: templates in place of the texts that are built in.
//!
//! A template sees data only ([`super::context`]), cannot read another file, and stops when it takes
//! too long or grows too large. What it reads is one line for each fact, so that an alert cannot
//! forge a line of the operator's text either. What comes out is text: a channel that has markup
//! escapes it as it escapes its own texts.

use std::{collections::BTreeMap, io, sync::Arc};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig};
use schemas::job::SendKind;

use super::{Language, Message, context::context, sample::samples};

/// The folder of templates that hold for every kind of channel.
pub const ANY: &str = "any";

/// How much work a template may be; a summary of twenty incidents is about 2,000.
const FUEL: u64 = 50_000;

/// The longest text that a template may make, in bytes. Channels cut to what they take.
const MAX_TEXT: usize = 64 * 1024;

/// A template that cannot be used, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", place(.name, *.line))]
pub struct TemplateError {
    /// The file, from the folder of templates.
    pub name: String,
    /// Counted from 1, where a line is to blame.
    pub line: Option<usize>,
    pub problem: String,
}

fn place(name: &str, line: Option<usize>) -> String {
    line.map_or_else(|| name.to_owned(), |line| format!("{name}, line {line}"))
}

/// Which messages a template is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Use {
    /// A kind of channel, or [`ANY`].
    channel: String,
    kind: &'static str,
    /// Absent: every language.
    language: Option<Language>,
}

/// An operator's templates; none by default.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    environment: Arc<Environment<'static>>,
    /// The name of each.
    uses: BTreeMap<Use, String>,
}

impl Templates {
    /// Reads templates, each by its name from the folder of templates:
    /// `<kind of channel, or any>/<kind of message>[.<language>].txt`, and tries each with samples
    /// in every language that it is for.
    ///
    /// `is_channel` says whether there is such a kind of channel.
    ///
    /// # Errors
    /// The first that has no such name, does not parse, or fails with a sample.
    pub fn read(
        files: impl IntoIterator<Item = (String, String)>,
        is_channel: impl Fn(&str) -> bool,
    ) -> Result<Self, TemplateError> {
        let mut environment = environment();
        let mut uses = BTreeMap::new();
        for (name, source) in files {
            let used = read_name(&name, &is_channel).map_err(|problem| TemplateError {
                name: name.clone(),
                line: None,
                problem,
            })?;
            environment
                .add_template_owned(name.clone(), source)
                .map_err(|error| failed(&name, &error))?;
            uses.insert(used, name);
        }
        let templates = Self { environment: Arc::new(environment), uses };
        for (used, name) in &templates.uses {
            templates.try_with_samples(used, name)?;
        }
        Ok(templates)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// The text of the template for this message on that kind of channel; none where there is none.
    /// `own` is the text in its place, and the language that is written in.
    ///
    /// # Errors
    /// Where the template fails.
    pub fn text(
        &self,
        channel: &str,
        message: &Message<'_>,
        own: (&str, Language),
    ) -> Option<Result<String, TemplateError>> {
        let language = message.language.unwrap_or(own.1);
        let name = self.find(channel, message.kind, language)?;
        Some(self.render(name, message, own.0, language))
    }

    /// The most particular one: of the channel before of any, in the language before for all.
    fn find(&self, channel: &str, kind: SendKind, language: Language) -> Option<&str> {
        [channel, ANY].into_iter().find_map(|channel| {
            [Some(language), None].into_iter().find_map(|language| {
                let used = Use { channel: channel.to_owned(), kind: kind.word(), language };
                self.uses.get(&used).map(String::as_str)
            })
        })
    }

    fn render(
        &self,
        name: &str,
        message: &Message<'_>,
        own: &str,
        language: Language,
    ) -> Result<String, TemplateError> {
        let template = self.environment.get_template(name).map_err(|error| failed(name, &error))?;
        let mut text = Bounded::default();
        let context = context(message, own, language);
        let rendered = template.render_captured_to(context, &mut text).map(drop);
        let useless = |problem: &str| TemplateError {
            name: name.to_owned(),
            line: None,
            problem: problem.to_owned(),
        };
        match rendered {
            Err(_) if text.full => return Err(useless("its text is too long")),
            Err(error) => return Err(failed(name, &error)),
            Ok(()) => {}
        }
        let text = String::from_utf8_lossy(&text.bytes).trim_end().to_owned();
        if text.trim().is_empty() { Err(useless("it says nothing")) } else { Ok(text) }
    }

    fn try_with_samples(&self, used: &Use, name: &str) -> Result<(), TemplateError> {
        let languages = used.language.map_or(Language::ALL.to_vec(), |language| vec![language]);
        for sample in samples().iter().filter(|sample| sample.kind.word() == used.kind) {
            for language in &languages {
                let message = Message { language: Some(*language), ..sample.message() };
                self.render(name, &message, "built-in text", *language)?;
            }
        }
        Ok(())
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // A name that is not there is a mistake, not an empty text.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.set_formatter(|out, state, value| {
        // What a payload does not say is no word.
        if value.is_none() { Ok(()) } else { minijinja::escape_formatter(out, state, value) }
    });
    // A line of tags is no line of the text.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment
}

fn read_name(name: &str, is_channel: impl Fn(&str) -> bool) -> Result<Use, String> {
    let form = "name it <kind of channel, or any>/<kind of message>[.<language>].txt";
    let parts = name.strip_suffix(".txt").and_then(|name| name.split_once('/'));
    let (channel, rest) = parts.ok_or_else(|| format!("this is no template's name; {form}"))?;
    if channel != ANY && !is_channel(channel) {
        return Err(format!("there is no kind of channel {channel:?}; {form}"));
    }
    let (kind, language) = match rest.split_once('.') {
        Some((kind, tag)) => {
            let known = Language::ALL.map(Language::tag).join(", ");
            let language = Language::from_tag(tag);
            let language = language
                .ok_or_else(|| format!("there is no language {tag:?}; there are {known}"))?;
            (kind, Some(language))
        }
        None => (rest, None),
    };
    let known = SendKind::ALL.map(SendKind::word);
    let kind = known.into_iter().find(|known| *known == kind).ok_or_else(|| {
        format!("there is no kind of message {kind:?}; there are {}", known.join(", "))
    })?;
    Ok(Use { channel: channel.to_owned(), kind, language })
}

/// What the engine says, in one line; it names variables, never what they hold.
fn failed(name: &str, error: &minijinja::Error) -> TemplateError {
    let problem = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    TemplateError { name: name.to_owned(), line: error.line(), problem }
}

/// Takes so much and no more.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_TEXT {
            self.full = true;
            return Err(io::Error::other("the text is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
