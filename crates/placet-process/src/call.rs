//! From a command to an intent. Nothing is executed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use placet_authority::host::MachineError;
use placet_types::canonical;
use placet_types::{
    AbsPath, ActionName, Asked, Commitment, ExecCheck, ExecutionId, GatewayName, Intent,
    PrincipalId, ProcessParams, ProfileName, ResourceRef, Salt, Seconds,
};

use crate::program::{Program, ProgramError};

/// Whether a command waits for approvals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// Until everybody who must has said something, or the time for it is up.
    #[default]
    Yes,
    /// It is given up at once.
    No,
}

/// A command as the caller gave it.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program's name and its arguments.
    pub argv: Vec<String>,
    /// The caller's environment, all of it. Only what some profile passes on is offered.
    pub env: BTreeMap<String, String>,
    /// The caller's working directory.
    pub cwd: PathBuf,
    /// Who asks.
    pub principal: PrincipalId,
    /// What it is for.
    pub purpose: Option<String>,
    /// Asks for at most the scope of this profile.
    pub profile: Option<ProfileName>,
    /// Asks for at most this long.
    pub lifetime: Option<Seconds>,
    /// The execution that it is a child of.
    pub parent: Option<ExecutionId>,
    /// The execution through whose door the command came.
    pub door: Option<ExecutionId>,
    /// Whether it waits for approvals, where some are needed.
    pub waits: Waits,
    /// Asks to have each program that it starts decided as well.
    pub decide: bool,
    /// Whether refusals of single programs are said on standard error where there is no terminal.
    pub announce: bool,
}

/// A command that was made an intent, with what belongs to it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The intent.
    pub intent: Intent,
    /// Its parameters, as they were read back from the bytes.
    pub params: ProcessParams,
    /// Canonical bytes of the parameters.
    pub params_bytes: Vec<u8>,
    /// Salt of their commitment.
    pub salt: Salt,
    /// The program.
    pub program: Program,
    /// As [`Command::announce`].
    pub(crate) announce: bool,
}

/// Why a command is no intent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no such program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The working directory is not there.
    #[error("the working directory {0}: {1}")]
    Cwd(PathBuf, io::Error),
    /// A path that records cannot hold.
    #[error("{0:?} cannot be written in a record: it is not UTF-8, or not an absolute path")]
    Path(PathBuf),
    /// The parameters break a rule of their format.
    #[error("the command, its environment and paths cannot be written in a record: {0}")]
    Malformed(#[from] canonical::Malformed),
    /// The machine cannot say what it is.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
}

/// Name of this gateway.
pub(crate) const GATEWAY: &str = "process";

impl Call {
    /// Finds the program, takes the parameters, and writes the intent.
    ///
    /// `offered` are the names of environment variables that some profile would pass on.
    ///
    /// # Errors
    ///
    /// [`CallError`]
    pub fn new(
        command: &Command,
        offered: &BTreeSet<String>,
        memory: Option<&Path>,
    ) -> Result<Self, CallError> {
        let name = command.argv.first().map(String::as_str).unwrap_or_default();
        let cwd = fs::canonicalize(&command.cwd)
            .map_err(|error| CallError::Cwd(command.cwd.clone(), error))?;
        let search = command
            .env
            .get("PATH")
            .map_or("/usr/bin:/bin", String::as_str);
        let program = Program::find(name, &cwd, search, memory)?;
        let params = ProcessParams {
            argv: command.argv.clone(),
            cwd: abs(&cwd)?,
            env: offer(&command.env, offered),
            home: home(&command.env)?,
            purpose: command.purpose.clone(),
            script: None,
            workspace: abs(&workspace(&cwd))?,
        };
        params.check()?;
        let params_bytes = canonical::to_bytes(&params)
            .map_err(|error| canonical::Malformed::Shape(error.to_string()))?;
        if params_bytes.len() > ProcessParams::BYTES_MAX {
            return Err(canonical::Malformed::TooLong(ProcessParams::BYTES_MAX).into());
        }
        let salt = salt()?;
        let asked = Asked {
            exec_check: if command.decide {
                ExecCheck::Decide
            } else {
                ExecCheck::Image
            },
            lifetime_secs: command.lifetime,
            profile: command.profile.clone(),
        };
        let commitment = Commitment::to(ProcessParams::ACTION, &params_bytes, &salt);
        let parent = command.parent.or(command.door);
        let intent = intent(
            asked,
            commitment,
            parent,
            command.principal.clone(),
            &program,
        )?;
        Ok(Self {
            intent,
            params,
            params_bytes,
            salt,
            program,
            announce: command.announce,
        })
    }
}

impl Call {
    /// The same, hidden by another salt.
    pub(crate) fn hidden_by(mut self, salt: Salt) -> Self {
        self.intent.params = Commitment::to(ProcessParams::ACTION, &self.params_bytes, &salt);
        self.salt = salt;
        self
    }
}

/// What is asked, with what opens its commitment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) intent: &'a Intent,
    pub(crate) params: &'a [u8],
    pub(crate) salt: &'a Salt,
}

impl Call {
    pub(crate) fn asking(&self) -> Asking<'_> {
        Asking {
            intent: &self.intent,
            params: &self.params_bytes,
            salt: &self.salt,
        }
    }
}

/// What a governed tree is about to start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) cwd: &'a AbsPath,
    pub(crate) script: Option<&'a AbsPath>,
    /// The profile that the tree's own command asked for.
    pub(crate) profile: Option<&'a ProfileName>,
}

impl Call {
    /// The call that a program amounts to which a governed tree is about to start.
    ///
    /// # Errors
    ///
    /// [`CallError::Malformed`], [`CallError::Random`]
    pub(crate) fn inside(
        root: &ProcessParams,
        started: Started<'_>,
        program: Program,
        principal: PrincipalId,
        parent: ExecutionId,
    ) -> Result<Self, CallError> {
        let params = ProcessParams {
            argv: started.argv.to_vec(),
            cwd: started.cwd.clone(),
            env: BTreeMap::new(),
            home: root.home.clone(),
            purpose: root.purpose.clone(),
            script: started.script.cloned(),
            workspace: root.workspace.clone(),
        };
        params.check()?;
        let params_bytes = canonical::to_bytes(&params)
            .map_err(|error| canonical::Malformed::Shape(error.to_string()))?;
        let salt = salt()?;
        let commitment = Commitment::to(ProcessParams::ACTION, &params_bytes, &salt);
        let asked = Asked {
            // It runs in the cell that was asked for so.
            profile: started.profile.cloned(),
            ..Asked::default()
        };
        let intent = intent(asked, commitment, Some(parent), principal, &program)?;
        Ok(Self {
            intent,
            params,
            params_bytes,
            salt,
            program,
            announce: false,
        })
    }
}

pub(crate) fn shape(error: &placet_types::id::NameSyntax) -> CallError {
    CallError::Malformed(canonical::Malformed::Shape(error.to_string()))
}

fn intent(
    asked: Asked,
    params: Commitment,
    parent: Option<ExecutionId>,
    principal: PrincipalId,
    program: &Program,
) -> Result<Intent, CallError> {
    Ok(Intent {
        action: ActionName::parse(ProcessParams::ACTION).map_err(|error| shape(&error))?,
        asked,
        gateway: GatewayName::parse(GATEWAY).map_err(|error| shape(&error))?,
        params,
        parent,
        principal,
        resource: ResourceRef {
            digest: Some(program.digest),
            id: program.path.as_str().to_owned(),
            kind: "Program".to_owned(),
        },
    })
}

fn offer(env: &BTreeMap<String, String>, offered: &BTreeSet<String>) -> BTreeMap<String, String> {
    env.iter()
        .filter(|(name, _)| offered.contains(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The repository that holds the working directory, or that directory.
#[must_use]
pub fn workspace(cwd: &Path) -> PathBuf {
    cwd.ancestors()
        .find(|dir| dir.join(".git").exists())
        .unwrap_or(cwd)
        .to_owned()
}

fn home(env: &BTreeMap<String, String>) -> Result<AbsPath, CallError> {
    // Without a home nothing below it can be meant, so a path that cannot exist stands for it.
    let text = env.get("HOME").filter(|home| !home.is_empty());
    let path = text.map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from);
    abs(&fs::canonicalize(&path).unwrap_or(path))
}

fn abs(path: &Path) -> Result<AbsPath, CallError> {
    path.to_str()
        .and_then(|text| AbsPath::parse(text).ok())
        .ok_or_else(|| CallError::Path(path.to_owned()))
}

pub(crate) fn salt() -> Result<Salt, CallError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| CallError::Random)?;
    Ok(Salt::new(bytes))
}
