//! From a bundle to a [`Policy`]: parse, name, validate, index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cedar_policy::{
    Entities, ParseErrors, Policy as CedarPolicy, PolicyId, PolicySet, ResourceConstraint, Schema,
    Template, ValidationMode, Validator,
};
use miette::Diagnostic;

use super::annotations;
use super::answers::Answers;
use super::cache::Cache;
use super::effort::Effort;
use super::index::{Index, Slice};
use super::mentions::Mentions;
use super::source::{self, Statement};
use super::{Policy, Rule, vocabulary};
use crate::bundle::{Bundle, Vocabulary};
use crate::directory::{self, Directory};
use crate::entities;
use crate::links::{self, Link};
use crate::problem::{Problem, line_at};

/// Slices kept: one for each combination of groups, action and toolsets that is in use.
const SLICES_MAX: usize = 512;
/// Prepared entities kept: one for each principal and resource that is in use.
const PREPARED_MAX: usize = 2048;
/// Scopes kept: one for each workspace, set of profiles and parent that is in use.
const SCOPES_MAX: usize = 1024;

/// The Cedar text of a bundle, parsed and named.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) set: PolicySet,
    pub(crate) rules: BTreeMap<String, Rule>,
    /// Where templates stand; they are no rules until they are linked.
    templates: BTreeMap<String, Rule>,
    problems: Vec<Problem>,
}

pub(super) fn compile(bundle: &Bundle) -> Result<Policy, Vec<Problem>> {
    let (schema, declared) = vocabulary::schema(bundle)?;
    let sources = parse_sources(bundle)?;
    let mut problems = validate(&sources, &schema);
    problems.extend(unknown_profiles(bundle, &sources));
    problems.extend(undefined(bundle, &sources));
    let base = base_entities(bundle, &schema).map_err(|problem| vec![problem])?;
    let directory = match bundle.member(directory::FILE) {
        Some(text) => Directory::read(text, &schema, &base)?,
        None => Directory::default(),
    };
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    Ok(Policy {
        digest: bundle.digest(),
        name: bundle.about.name.clone(),
        revision: bundle.about.revision,
        validity: bundle.about.validity(),
        default_profile: bundle.about.default_profile.clone(),
        governs: bundle.about.vocabularies.contains(&Vocabulary::Admin),
        profiles: bundle.profiles.clone(),
        references: bundle.references.clone(),
        bundle_entities: bundle.entities.clone(),
        mapping: bundle.mapping.clone(),
        directory,
        declared,
        rules: sources.rules,
        schema,
        base,
        index: Index::new(&sources.set),
        full: Arc::new(Slice {
            effort: Effort::of(&sources.set),
            set: sources.set,
            mentions: Mentions::All,
        }),
        slices: Cache::new(SLICES_MAX),
        prepared: Cache::new(PREPARED_MAX),
        scopes: Cache::new(SCOPES_MAX),
        answers: Answers::new(),
        index_trusted: AtomicBool::new(true),
    })
}

/// Parses every Cedar member, names each policy by its `@id`, and links templates.
pub(crate) fn parse_sources(bundle: &Bundle) -> Result<Sources, Vec<Problem>> {
    let mut sources = Sources::default();
    for (file, text) in bundle.cedar("policies/") {
        for statement in source::split(text) {
            sources.add_policy(file, text, statement);
        }
    }
    for (file, text) in bundle.cedar("templates/") {
        for statement in source::split(text) {
            sources.add_template(file, text, statement);
        }
    }
    for link in &bundle.links {
        if let Err(message) = sources.link(link) {
            sources
                .problems
                .push(Problem::error(links::FILE, "link", message).at(link.line));
        }
    }
    if sources.problems.is_empty() {
        return Ok(sources);
    }
    sources.problems.sort();
    Err(sources.problems)
}

impl Sources {
    fn add_policy(&mut self, file: &str, text: &str, statement: Statement<'_>) {
        let line = statement.line;
        let policy = match CedarPolicy::parse(None, statement.text) {
            Ok(policy) => policy,
            Err(error) => return self.problems.push(syntax(file, text, statement, &error)),
        };
        let rule = Rule::read(policy.effect(), policy.annotations(), file, line);
        let Some(rule) = self.accept(rule, file, line) else {
            return;
        };
        let named = policy.new_id(PolicyId::new(&rule.id));
        match self.set.add(named) {
            Ok(()) => {
                self.rules.insert(rule.id.clone(), rule);
            }
            Err(error) => self
                .problems
                .push(Problem::error(file, "policy", error.to_string())),
        }
    }

    fn add_template(&mut self, file: &str, text: &str, statement: Statement<'_>) {
        let line = statement.line;
        let template = match Template::parse(None, statement.text) {
            Ok(template) => template,
            Err(error) => return self.problems.push(syntax(file, text, statement, &error)),
        };
        let rule = Rule::read(template.effect(), template.annotations(), file, line);
        let Some(rule) = self.accept(rule, file, line) else {
            return;
        };
        match self
            .set
            .add_template(template.new_id(PolicyId::new(&rule.id)))
        {
            Ok(()) => {
                self.templates.insert(rule.id.clone(), rule);
            }
            Err(error) => self
                .problems
                .push(Problem::error(file, "template", error.to_string())),
        }
    }

    /// The rule, unless its annotations are wrong or its id is taken.
    fn accept(&mut self, rule: Result<Rule, Vec<String>>, file: &str, line: u32) -> Option<Rule> {
        let rule = match rule {
            Ok(rule) => rule,
            Err(messages) => {
                let problem = |message| Problem::error(file, "annotation", message).at(line);
                self.problems.extend(messages.into_iter().map(problem));
                return None;
            }
        };
        if let Some(message) = self.taken(&rule.id) {
            self.problems
                .push(Problem::error(file, "duplicate-id", message).at(line));
            return None;
        }
        Some(rule)
    }

    fn taken(&self, id: &str) -> Option<String> {
        let first = self.rules.get(id).or_else(|| self.templates.get(id))?;
        Some(format!(
            "@id(\"{id}\") stands at {}:{} already",
            first.file, first.line
        ))
    }

    fn link(&mut self, link: &Link) -> Result<(), String> {
        let id = annotations::id(&link.id)?;
        if let Some(message) = self.taken(&id) {
            return Err(message);
        }
        let template = self
            .templates
            .get(&link.template)
            .ok_or_else(|| format!("there is no template `{}`", link.template))?;
        let rule = Rule {
            id: id.clone(),
            file: links::FILE.to_owned(),
            line: link.line,
            ..template.clone()
        };
        let (template, name) = (PolicyId::new(&link.template), PolicyId::new(&id));
        self.set
            .link(template, name, link.slots.clone())
            .map_err(|error| describe(&error))?;
        self.rules.insert(id, rule);
        Ok(())
    }
}

fn syntax(file: &str, text: &str, statement: Statement<'_>, errors: &ParseErrors) -> Problem {
    let offset = first_offset(errors)
        .unwrap_or(0)
        .saturating_add(statement.offset);
    Problem::error(file, "syntax", describe(errors)).at(line_at(text, offset))
}

pub(super) fn first_offset(error: &dyn Diagnostic) -> Option<usize> {
    error.labels()?.map(|label| label.offset()).min()
}

/// The message of an error, its causes and its help, on one line.
pub(crate) fn describe(error: &dyn Diagnostic) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors only pass on what their cause says.
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    let help = error
        .help()
        .map(|help| format!(" ({help})"))
        .unwrap_or_default();
    format!("{text}{help}").replace('\n', " ")
}

fn validate(sources: &Sources, schema: &Schema) -> Vec<Problem> {
    let result = Validator::new(schema.clone()).validate(&sources.set, ValidationMode::Strict);
    let mut problems: Vec<Problem> = result
        .validation_errors()
        .map(|error| sources.locate("validation", error.policy_id(), describe(error)))
        .collect();
    problems.sort();
    // A link repeats what is wrong with its template.
    problems.dedup();
    problems
}

impl Sources {
    fn locate(&self, rule: &'static str, id: &PolicyId, message: String) -> Problem {
        let id: &str = id.as_ref();
        match self.rules.get(id).or_else(|| self.templates.get(id)) {
            Some(place) => Problem::error(&place.file, rule, message).at(place.line),
            None => Problem::error("policies", rule, message),
        }
    }
}

/// What Cedar's validator finds odd, though not wrong: such as a policy that can never apply.
pub(super) fn validator_warnings(
    set: &PolicySet,
    schema: &Schema,
    rules: &BTreeMap<String, Rule>,
) -> Vec<Problem> {
    let result = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    let warnings = result.validation_warnings();
    warnings
        .map(|warning| {
            let problem = |file: &str| Problem::warning(file, "validator", describe(warning));
            let id: &str = warning.policy_id().as_ref();
            rules.get(id).map_or_else(
                || problem("templates"),
                |rule| problem(&rule.file).at(rule.line),
            )
        })
        .collect()
}

/// A policy on a toolset or a wordlist that the bundle does not define would never apply, or always
/// fail: a forbid that is misspelt would forbid nothing.
fn undefined(bundle: &Bundle, sources: &Sources) -> Vec<Problem> {
    let mut problems = Vec::new();
    for policy in sources.set.policies() {
        let mut named = policy.entity_literals();
        if let ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) =
            policy.resource_constraint()
        {
            named.push(uid);
        }
        for uid in named.iter().filter(|uid| bundle.entities.lacks(uid)) {
            let message = format!("{uid} is not defined in {}", entities::FILE);
            problems.push(sources.locate("undefined", policy.id(), message));
        }
    }
    problems
}

fn unknown_profiles(bundle: &Bundle, sources: &Sources) -> Vec<Problem> {
    let rules = sources.rules.values().chain(sources.templates.values());
    rules
        .filter_map(|rule| {
            let profile = rule
                .granted_profile()
                .filter(|name| !bundle.profiles.contains_key(*name))?;
            let key = rule.reroute.as_ref().map_or("profile", |_| "reroute");
            let message = format!("@{key}(\"{profile}\"): there is no profiles/{profile}.toml");
            Some(Problem::error(&rule.file, "unknown-profile", message).at(rule.line))
        })
        .collect()
}

fn base_entities(bundle: &Bundle, schema: &Schema) -> Result<Entities, Problem> {
    let bad = |message: String| Problem::error(entities::FILE, "entities", message);
    let own = bundle
        .entities
        .to_cedar()
        .map_err(|error| bad(error.to_string()))?;
    // The schema adds the action entities, without which no policy on an action group applies.
    Entities::from_entities(own, Some(schema)).map_err(|error| bad(describe(&error)))
}
