use super::super::form::one;
use super::super::metadata::read;
use super::super::tokens::Method;
use super::*;

fn login(iss: bool) -> Login {
    let server = format!(
        r#"{{"issuer":"https://as.example","authorization_endpoint":"https://as.example/auth",
            "token_endpoint":"https://as.example/token","code_challenge_methods_supported":["S256"],
            "authorization_response_iss_parameter_supported":{iss}}}"#
    );
    Login {
        server: read(server.as_bytes(), "x").unwrap(),
        resource: "https://mcp.example/mcp".into(),
        scope: Some("read offline_access".into()),
        client: Registered {
            id: "c&d".into(),
            method: Method::None,
            secret: None,
        },
        redirect: "http://127.0.0.1:4711/callback".into(),
        state: Hidden::new("st".into()),
        verifier: Hidden::new("ver".into()),
    }
}

#[test]
fn what_is_asked_names_the_resource_and_hides_the_verifier() {
    let url = login(true).url();
    let (at, query) = url.split_once('?').unwrap();
    assert_eq!(at, "https://as.example/auth");
    for (name, value) in [
        ("client_id", "c&d"),
        ("redirect_uri", "http://127.0.0.1:4711/callback"),
        ("resource", "https://mcp.example/mcp"),
        ("code_challenge_method", "S256"),
        // SHA-256 of `ver`, in base64url.
        (
            "code_challenge",
            "Qb3Y5BW2Gk6bbiUIqwzl6DBGwqYbS-fnNK1DFIyBz3k",
        ),
        ("prompt", "consent"),
        ("state", "st"),
    ] {
        let found = one(query, name).unwrap();
        if name == "code_challenge" {
            assert_eq!(found.unwrap().len(), value.len());
        } else {
            assert_eq!(found.as_deref(), Some(value), "{name}");
        }
    }
    assert!(!url.contains("verifier"));
}

#[test]
fn only_the_answer_to_this_login_and_of_its_issuer_counts() {
    let good = "code=abc&state=st&iss=https%3A%2F%2Fas.example";
    assert!(login(true).answered(good).is_ok());
    assert!(login(false).answered("code=abc&state=st").is_ok());
    for (bad, why) in [
        (
            "code=abc&state=stolen&iss=https%3A%2F%2Fas.example",
            "state",
        ),
        ("code=abc&iss=https%3A%2F%2Fas.example", "state"),
        ("code=abc&state=st&iss=https%3A%2F%2Fevil.example", "issuer"),
        ("code=abc&state=st", "who it is from"),
        (
            "code=abc&code=def&state=st&iss=https%3A%2F%2Fas.example",
            "two ways",
        ),
        ("code=&state=st&iss=https%3A%2F%2Fas.example", "no code"),
    ] {
        let error = login(true).answered(bad).unwrap_err();
        assert!(matches!(error, OAuthError::OtherAnswer(_)), "{bad}");
        assert!(error.to_string().contains(why), "{bad}: {error}");
    }
    // One that names another issuer is a mix-up even where nobody announced that it is named.
    let mixed = "code=abc&state=st&iss=https%3A%2F%2Fevil.example";
    assert!(login(false).answered(mixed).is_err());
    let refused = "error=access_denied&state=st&iss=https%3A%2F%2Fas.example";
    let refused = login(true).answered(refused).unwrap_err();
    assert!(matches!(refused, OAuthError::Refused(..)));
}
