//! `placet-authority`: frames between a gateway and the node.

use placet_authority::node::wire::{self, Request, Response};

pub(crate) fn wire_request(data: &[u8]) -> bool {
    let Ok(request) = wire::decode::<Request>(data) else {
        return false;
    };
    let written = serde_json::to_vec(&request).unwrap();
    let again: Request = wire::decode(&written).unwrap();
    assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    true
}

pub(crate) fn wire_response(data: &[u8]) -> bool {
    let Ok(response) = wire::decode::<Response>(data) else {
        return false;
    };
    let written = serde_json::to_vec(&response).unwrap();
    let again: Response = wire::decode(&written).unwrap();
    assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    true
}
