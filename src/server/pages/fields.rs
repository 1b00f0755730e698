//! What comes with a request: the query of a page, or a form. And fields as a form shows them.

use crate::keyring::Secret;
use crate::server::api::Problem;

/// Names and values as browsers write them.
#[derive(Clone, Copy)]
pub(super) struct Fields<'f>(pub(super) &'f [u8]);

impl Fields<'_> {
    /// The first value of a name. Empty where there is none.
    pub(super) fn get(self, name: &str) -> String {
        self.find(name).unwrap_or_default()
    }

    /// The same without white space around it; `None` where nothing is left.
    pub(super) fn given(self, name: &str) -> Option<String> {
        let value = self.find(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A secret that somebody entered.
    pub(super) fn secret(self, name: &str) -> Option<Secret> {
        let value = self.find(name)?;
        (!value.is_empty()).then(|| Secret::new(Box::new(value)))
    }

    /// Every value of a name.
    pub(super) fn all(self, name: &str) -> Vec<String> {
        let pairs = url::form_urlencoded::parse(self.0);
        pairs.filter(|(of, _)| of == name).map(|(_, value)| value.into_owned()).collect()
    }

    fn find(self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.0);
        pairs.find_map(|(of, value)| (of == name).then(|| value.into_owned()))
    }
}

/// A query with these values, as far as they hold anything.
pub(super) fn query(values: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    query.finish()
}

/// The query of the next page.
pub(super) fn with_cursor(filter: &str, cursor: &str) -> String {
    let between = if filter.is_empty() { "" } else { "&" };
    format!("{filter}{between}{}", query(&[("cursor", cursor)]))
}

/// A field of a form.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) help: String,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    /// What is offered while it is entered.
    pub(super) suggested: Vec<String>,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
}

/// How a field is entered.
pub(super) enum Kind {
    /// One line. With what a browser is told of it.
    Line { input: &'static str, completes: &'static str },
    /// Several lines.
    Area { is_code: bool },
    /// Never shown again.
    Secret,
    /// The password of whoever asks.
    Password,
    /// One of these: value and label.
    Choice(Vec<(String, String)>),
}

impl Field {
    pub(super) fn line(name: &'static str, label: &'static str, value: impl Into<String>) -> Self {
        let kind = Kind::Line { input: "text", completes: "off" };
        Self::new(name, label, value, kind)
    }

    pub(super) fn area(name: &'static str, label: &'static str, value: impl Into<String>) -> Self {
        Self::new(name, label, value, Kind::Area { is_code: false })
    }

    pub(super) fn new(
        name: &'static str,
        label: &'static str,
        value: impl Into<String>,
        kind: Kind,
    ) -> Self {
        let (help, value) = (String::new(), value.into());
        let suggested = Vec::new();
        Self { name, label, value, help, kind, is_required: false, suggested, wrong: None }
    }

    pub(super) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    pub(super) fn suggesting(self, suggested: Vec<String>) -> Self {
        Self { suggested, ..self }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// What describes it to who does not see it.
    pub(super) fn described(&self) -> String {
        let mut by = Vec::new();
        if self.wrong.is_some() {
            by.push(format!("{}-wrong", self.name));
        }
        if !self.help.is_empty() {
            by.push(format!("{}-help", self.name));
        }
        by.join(" ")
    }
}

/// What is wrong with a form: each field is marked, and the list above them leads to it.
pub(super) fn errors(fields: &mut [Field], problem: Option<&Problem>) -> Vec<(String, String)> {
    let Some(problem) = problem else { return Vec::new() };
    let others = mark(fields, problem);
    let of_fields = fields.iter().filter_map(|field| {
        Some((field.name.to_owned(), format!("{}: {}", field.label, field.wrong.as_ref()?)))
    });
    of_fields.chain(others.map(|other| (String::new(), other))).collect()
}

/// Says with each field what is wrong with it, and returns what is wrong with none of them.
pub(super) fn mark(fields: &mut [Field], problem: &Problem) -> Option<String> {
    let mut others = Vec::new();
    for (name, why) in problem.of_fields() {
        match fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.wrong = Some(why),
            None => others.push(why),
        }
    }
    (!others.is_empty()).then(|| others.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it_and_a_query_holds_what_is_there() {
        let fields = Fields(b"name=EU+%26+more&id=1&id=2&empty=+");
        assert_eq!(fields.get("name"), "EU & more");
        assert_eq!(fields.all("id"), ["1", "2"]);
        assert_eq!((fields.given("empty"), fields.given("absent")), (None, None));
        assert_eq!(query(&[("q", "a b&c"), ("none", "")]), "q=a+b%26c");
    }
}
