//! What the files hold, name by name. Names that are not here are passed over: the tests have had others in the past.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Line {
    pub client_id: Option<i64>,
    pub input: Option<Request>,
    #[serde(default)]
    pub call: i64,
    pub output: Option<Answer>,
    #[serde(default)]
    pub r#return: i64,
    pub request: Option<Watch>,
    pub responses: Option<Vec<WatchAnswer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    pub r#type: String,
    pub lease_grant: Option<Lease>,
    pub lease_revoke: Option<Lease>,
    pub range: Option<Range>,
    pub txn: Option<Txn>,
    pub compact: Option<At>,
}

#[derive(Deserialize)]
pub struct Lease {
    #[serde(rename = "LeaseID", default)]
    pub id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct At {
    pub revision: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub struct Range {
    pub start: String,
    pub end: String,
    pub limit: i64,
    pub revision: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Txn {
    pub conditions: Option<Vec<Condition>>,
    pub operations_on_success: Option<Vec<Operation>>,
    pub operations_on_failure: Option<Vec<Operation>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Condition {
    pub key: String,
    #[serde(default)]
    pub expected_revision: i64,
    #[serde(default)]
    pub expected_version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Operation {
    pub r#type: String,
    #[serde(default)]
    pub range: Range,
    #[serde(default)]
    pub put: Put,
    #[serde(default)]
    pub delete: Delete,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Put {
    pub key: String,
    pub value: Content,
    #[serde(rename = "LeaseID")]
    pub lease: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Delete {
    pub key: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Content {
    pub value: String,
    pub hash: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    pub txn: Option<TxnAnswer>,
    pub range: Option<RangeAnswer>,
    #[serde(default)]
    pub revision: i64,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub client_error: String,
    #[serde(default)]
    pub partial_response: bool,
    #[serde(default)]
    pub persisted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TxnAnswer {
    #[serde(default)]
    pub failure: bool,
    pub results: Option<Vec<ResultOf>>,
}

#[derive(Deserialize)]
pub struct ResultOf {
    #[serde(rename = "KVs")]
    pub kvs: Option<Vec<Kv>>,
    #[serde(rename = "Count", default)]
    pub count: i64,
    #[serde(rename = "Deleted", default)]
    pub deleted: i64,
}

#[derive(Deserialize)]
pub struct RangeAnswer {
    #[serde(rename = "KVs")]
    pub kvs: Option<Vec<Kv>>,
    #[serde(rename = "Count", default)]
    pub count: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Kv {
    pub key: String,
    #[serde(default)]
    pub value: Content,
    #[serde(default)]
    pub mod_revision: i64,
    #[serde(default)]
    pub version: i64,
}

#[derive(Deserialize)]
pub struct Watch {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WatchAnswer {
    pub events: Option<Vec<WatchEvent>>,
    #[serde(default)]
    pub time: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WatchEvent {
    pub r#type: String,
    pub key: String,
    #[serde(default)]
    pub value: Content,
    pub revision: i64,
    #[serde(default)]
    pub is_create: bool,
}
