//! The routes of `/v1/tenants`.

use crate::access::Scope;
use crate::server::api::fields::{Field, Kind, optional, required};
use crate::server::api::page::{CURSOR_FIELD, LIMIT_FIELD, NEXT};
use crate::server::api::routes::{BARE, Operation as Of, Route};

/// What is done with labels of tenants.
#[derive(Clone, Copy)]
pub(in crate::server::api) enum Operation {
    List,
    Change,
}

pub(in crate::server::api) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/tenants",
        name: "listTenants",
        summary: "The tenants that have a label, by label, in pages.",
        scope: Some(Scope::Numbers),
        query: &[
            optional(
                "search",
                Kind::Text,
                "Only those with this in their label, in capital or small letters.",
            ),
            LIMIT_FIELD,
            CURSOR_FIELD,
        ],
        answered: &[required("tenants", Kind::List(TENANT), "The tenants."), NEXT],
        codes: &[200, 400, 401, 403, 429, 503],
        operation: Of::Tenants(Operation::List),
        ..BARE
    },
    Route {
        path: "/v1/tenants/{id}",
        method: "PATCH",
        name: "labelTenant",
        summary: "Gives a tenant a label in place of any other, or takes the one away that it has.",
        scope: Some(Scope::EditNumbers),
        asked: &[optional(
            "label",
            Kind::Text,
            "The label: 1 to 100 characters that no other tenant has, and no UUID; null for none.",
        )],
        answered: &[ID, optional("label", Kind::Text, "The label as it is now.")],
        codes: &[200, 400, 401, 403, 404, 408, 409, 413, 415, 429, 503, 504],
        operation: Of::Tenants(Operation::Change),
        ..BARE
    },
];

const ID: Field = required("id", Kind::Id, "The tenant's id.");
const TENANT: &[Field] = &[
    ID,
    required("label", Kind::Text, "What people call it."),
    optional("labelled_at", Kind::Time, "Since when."),
];
