//! The execution that a connection to a server elsewhere is: its calls are below it.

use placet_types::call::Members;
use placet_types::canonical::Json;
use placet_types::{
    ActionName, Asked, CallParams, Commitment, GatewayName, Intent, PrincipalId, ProfileName,
    ResourceRef, Salt,
};

use crate::subject::{GATEWAY, Sealed, SubjectError};
use placet_fetch::Target;

/// The action.
pub const CONNECT: &str = "mcp:connect";

/// The intent to speak to a server elsewhere.
///
/// # Errors
///
/// [`SubjectError`]
pub fn intent(
    principal: &PrincipalId,
    server: &str,
    target: &Target,
    profile: Option<&ProfileName>,
) -> Result<Sealed, SubjectError> {
    let text = |value: &str| Json::String(value.to_owned());
    let params = CallParams {
        context: Members::from([
            ("host".to_owned(), text(target.host())),
            ("port".to_owned(), Json::Number(f64::from(target.port()))),
            ("url".to_owned(), text(&target.url())),
        ]),
        resource: Members::from([("name".to_owned(), text(server))]),
        ..CallParams::default()
    };
    let resource = ResourceRef {
        digest: None,
        id: server.to_owned(),
        kind: "McpServer".to_owned(),
    };
    let name = |error: placet_types::id::NameSyntax| SubjectError::Name(error.to_string());
    let params = params.to_canonical();
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|_| SubjectError::Random)?;
    let salt = Salt::new(salt);
    let intent = Intent {
        action: ActionName::parse(CONNECT).map_err(name)?,
        asked: Asked {
            profile: profile.cloned(),
            ..Asked::default()
        },
        gateway: GatewayName::parse(GATEWAY).map_err(name)?,
        params: Commitment::to(CONNECT, &params, &salt),
        parent: None,
        principal: principal.clone(),
        resource,
    };
    Ok(Sealed {
        intent,
        params,
        salt,
    })
}
