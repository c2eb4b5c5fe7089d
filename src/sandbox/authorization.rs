//! The authorization server: the page for the person, codes, tokens, rotation, and its own ways to say no.
//!
//! Strict like the product that the service runs on: redirect addresses are compared as strings, a code works once for
//! five minutes, and a refresh token that is used again after the leeway ends its whole family.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Rotation;
use super::answer::{Answer, Delivery, oauth};
use super::request::Call;
use super::world::World;

/// How long a code works.
const CODE_LIFE: Duration = Duration::from_mins(5);
/// How long an authorization lives without a refresh.
const IDLE_LIFE: Duration = Duration::from_hours(4320);
/// How long a device code works.
const DEVICE_LIFE: Duration = Duration::from_mins(10);
/// What asking too soon adds to a device's interval (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// A device's question may be early by what a network makes of an even pace.
const JITTER: Duration = Duration::from_millis(100);
/// The service's tokens are about this long; a client must not be surprised.
const JWT_FILLER: usize = 800;
/// Scopes that an application of the service may ask for.
const SCOPES: [&str; 5] =
    ["contact_data", "offline_access", "account_read", "account_update", "campaign_data"];

#[derive(Default)]
pub(super) struct Authorizations {
    codes: HashMap<String, Code>,
    families: Vec<Family>,
    access: HashMap<String, Access>,
    devices: HashMap<String, Device>,
    refreshes: u64,
}

struct Code {
    redirect_uri: String,
    scope: String,
    challenge: Option<String>,
    issued_at: Timestamp,
    used: bool,
}

/// A sign-in with every refresh token that came of it.
struct Family {
    scope: String,
    newest: Option<String>,
    former: HashMap<String, Timestamp>,
    used_at: Timestamp,
    ended: bool,
}

struct Access {
    family: usize,
    scope: String,
    ends_at: Timestamp,
}

struct Device {
    user_code: String,
    scope: String,
    issued_at: Timestamp,
    allowed: Option<bool>,
    interval: Duration,
    asked_at: Option<Instant>,
}

/// Tokens as the token endpoint gives them.
#[derive(Debug, Clone)]
pub struct Issued {
    /// For the header.
    pub access_token: String,
    /// For the next ones.
    pub refresh_token: Option<String>,
    /// Granted.
    pub scope: String,
}

/// The scope that a token carries, if it is good.
pub(super) fn scope_of(world: &World, token: &str) -> Option<String> {
    if world.settings.foreign_tokens && !token.is_empty() {
        return Some(SCOPES.join(" "));
    }
    let access = world.authorizations.access.get(token)?;
    let family = world.authorizations.families.get(access.family)?;
    (!family.ended && access.ends_at > world.now()).then(|| access.scope.clone())
}

impl World {
    /// Signs somebody in without a browser: tokens as the token endpoint would give them.
    pub fn issue_tokens(&mut self, scope: &str) -> Issued {
        let family = Family {
            scope: scope.to_owned(),
            newest: None,
            former: HashMap::new(),
            used_at: self.now(),
            ended: false,
        };
        self.authorizations.families.push(family);
        issue(self, self.authorizations.families.len() - 1)
    }

    /// Ends every authorization, as a changed password would.
    pub fn revoke_all(&mut self) {
        self.authorizations.families.iter_mut().for_each(|family| family.ended = true);
    }

    /// How many refreshes were granted.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.authorizations.refreshes
    }

    /// How many authorizations are good: none is one that a reuse has ended.
    #[must_use]
    pub fn good_authorizations(&self) -> usize {
        self.authorizations.families.iter().filter(|family| !family.ended).count()
    }

    /// Ends every access token and leaves the refresh tokens.
    pub fn expire_access_tokens(&mut self) {
        self.authorizations.access.clear();
    }
}

/// Everything under `/oauth2/default/v1` and the page for devices.
pub(super) fn handle(world: &mut World, call: &Call) -> Answer {
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/oauth2/default/v1/authorize") => authorize_page(world, call),
        ("POST", "/oauth2/default/v1/authorize") => decide(world, call),
        ("POST", "/oauth2/default/v1/token") => token_with_faults(world, call),
        ("POST", "/oauth2/default/v1/device/authorize") => device_authorize(world, call),
        ("GET", "/activate") => activate_page(call),
        ("POST", "/activate") => activate(world, call),
        _ => Answer::html(404, "<h1>404</h1>"),
    }
}

/// What is wrong with a request for authorization, if anything: shown to the person and never redirected.
fn refuse_request(world: &World, call: &Call) -> Option<Answer> {
    let page = |what: &str| Some(Answer::html(400, format!("<h1>400 Bad Request</h1><p>{what}</p>")));
    if call.param("client_id") != Some(&world.settings.client_id) {
        return page("Your request resulted in an error. Invalid value for 'client_id' parameter.");
    }
    let redirect = call.param("redirect_uri").unwrap_or_default();
    if !world.settings.redirect_uris.iter().any(|known| known == redirect) {
        return page("The 'redirect_uri' parameter must be a Login redirect URI in the client app settings.");
    }
    if call.param("state").is_none_or(str::is_empty) {
        return page("The authentication request has an invalid 'state' parameter.");
    }
    None
}

fn authorize_page(world: &mut World, call: &Call) -> Answer {
    if let Some(refusal) = refuse_request(world, call) {
        return refusal;
    }
    let back = |error: &str, said: &str| {
        Answer::redirect(&back_to(call, &[("error", error), ("error_description", said)]))
    };
    if call.param("response_type") != Some("code") {
        return back("unsupported_response_type", "The response type is not supported.");
    }
    let scope = call.param("scope").unwrap_or_default();
    if scope.split(' ').any(|scope| !SCOPES.contains(&scope)) {
        return back(
            "invalid_scope",
            "One or more scopes are not configured for the authorization server resource.",
        );
    }
    let needs_pkce = world.settings.client_secret.is_none();
    let good_challenge = call.param("code_challenge").is_some_and(|challenge| challenge.len() >= 43);
    if needs_pkce && (!good_challenge || call.param("code_challenge_method") != Some("S256")) {
        return back(
            "invalid_request",
            "PKCE code challenge is required when the token endpoint authentication method is 'NONE'.",
        );
    }
    let hidden: String = call.query.iter().map(|(name, value)| hidden_field(name, value)).collect();
    Answer::html(
        200,
        format!(
            "<!doctype html><title>Sign in – sandbox</title><h1>Allow access?</h1>\
             <p>The application asks for <b>{}</b> in the account <b>{}</b>.</p>\
             <form method=post action=/oauth2/default/v1/authorize>{hidden}\
             <button name=decision value=allow>Allow</button> <button name=decision value=deny>Deny</button></form>",
            escape(scope),
            escape(&world.settings.organization_name)
        ),
    )
}

fn hidden_field(name: &str, value: &str) -> String {
    format!("<input type=hidden name=\"{}\" value=\"{}\">", escape(name), escape(value))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The redirect address with what the person brings back.
fn back_to(call: &Call, answer: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(answer).append_pair("state", call.param("state").unwrap_or_default());
    format!("{}?{}", call.param("redirect_uri").unwrap_or_default(), query.finish())
}

/// The person pressed a button.
fn decide(world: &mut World, call: &Call) -> Answer {
    if let Some(refusal) = refuse_request(world, call) {
        return refusal;
    }
    let denied = world.fault_fires("deny", "authorize");
    if denied || call.param("decision") != Some("allow") {
        let said = "The resource owner or authorization server denied the request.";
        return Answer::redirect(&back_to(call, &[("error", "access_denied"), ("error_description", said)]));
    }
    let code = world.secret(43);
    let issued = Code {
        redirect_uri: call.param("redirect_uri").unwrap_or_default().to_owned(),
        scope: call.param("scope").unwrap_or_default().to_owned(),
        challenge: call.param("code_challenge").map(str::to_owned),
        issued_at: world.now(),
        used: false,
    };
    world.authorizations.codes.insert(code.clone(), issued);
    Answer::redirect(&back_to(call, &[("code", &code)]))
}

fn token_with_faults(world: &mut World, call: &Call) -> Answer {
    if world.fault_fires("token_500", "token") {
        return Answer::json(500, json!({ "message": "Internal server error" }));
    }
    if world.fault_fires("token_429", "token") {
        let body = json!({ "errorCode": "E0000047", "errorSummary": "API call exceeded rate limit due to too many requests.", "errorCauses": [] });
        return Answer::json(429, body);
    }
    if world.fault_fires("token_html_403", "token") {
        return Answer::html(403, "<html><title>Attention Required!</title></html>");
    }
    let answer = token(world, call);
    if world.fault_fires("token_lost", "token") { answer.delivered(Delivery::Lost) } else { answer }
}

fn token(world: &mut World, call: &Call) -> Answer {
    if let Err(refusal) = authenticate(world, call) {
        return refusal;
    }
    match call.param("grant_type") {
        Some("authorization_code") => redeem(world, call),
        Some("refresh_token") => refresh(world, call),
        Some("urn:ietf:params:oauth:grant-type:device_code") => poll_device(world, call),
        Some(_) => oauth(400, "unsupported_grant_type", "The authorization grant type is not supported."),
        None => oauth(400, "invalid_request", "The token request must specify a grant type."),
    }
}

/// One way of client authentication, and the right one.
fn authenticate(world: &mut World, call: &Call) -> Result<(), Answer> {
    let basic = call.basic_credentials();
    let (id, secret) = match (basic, call.param("client_id"), call.param("client_secret")) {
        (Some(_), _, Some(_)) => {
            let said = "Cannot supply multiple client credentials. Use one of the following: credentials in the Authorization header, credentials in the post body.";
            return Err(oauth(400, "invalid_request", said));
        }
        (Some((id, secret)), ..) => (id, Some(secret).filter(|secret| !secret.is_empty())),
        (None, Some(id), secret) => (id.to_owned(), secret.map(str::to_owned)),
        (None, None, _) => return Err(oauth(401, "invalid_client", "No client credentials found.")),
    };
    if id != world.settings.client_id {
        return Err(oauth(401, "invalid_client", "Invalid value for 'client_id' parameter."));
    }
    let refused = world.fault_fires("token_invalid_client", "token");
    match (&world.settings.client_secret, secret) {
        (Some(_), None) => Err(oauth(401, "invalid_client", "No client credentials found.")),
        (Some(known), Some(secret)) if *known != secret || refused => Err(oauth(
            401,
            "invalid_client",
            "The client secret supplied for a confidential client is invalid.",
        )),
        _ => Ok(()),
    }
}

fn redeem(world: &mut World, call: &Call) -> Answer {
    let now = world.now();
    let used_up = || oauth(400, "invalid_grant", "The authorization code is invalid or has expired.");
    let Some(code) = world.authorizations.codes.get_mut(call.param("code").unwrap_or_default()) else {
        return used_up();
    };
    let ended = code.issued_at.checked_add(CODE_LIFE).is_ok_and(|end| end <= now);
    if std::mem::replace(&mut code.used, true) || ended {
        return used_up();
    }
    if call.param("redirect_uri") != Some(&code.redirect_uri) {
        return oauth(
            400,
            "invalid_grant",
            "The redirect URI does not match the redirect URI in the authorization request.",
        );
    }
    let verified = match (&code.challenge, call.param("code_verifier")) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => {
            (43..=128).contains(&verifier.len())
                && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == *challenge
        }
        _ => false,
    };
    if !verified {
        return oauth(400, "invalid_grant", "PKCE verification failed.");
    }
    let scope = code.scope.clone();
    let issued = world.issue_tokens(&scope);
    granted(world, &issued)
}

fn refresh(world: &mut World, call: &Call) -> Answer {
    let now = world.now();
    let invalid = || oauth(400, "invalid_grant", "The refresh token is invalid or expired.");
    let given = call.param("refresh_token").unwrap_or_default().to_owned();
    let leeway = match world.settings.rotation {
        Rotation::Rotating { leeway } => leeway,
        Rotation::LongLived => Duration::ZERO,
    };
    let families = &mut world.authorizations.families;
    let found = families
        .iter_mut()
        .enumerate()
        .find(|(_, family)| family.newest.as_ref() == Some(&given) || family.former.contains_key(&given));
    let Some((index, family)) = found else { return invalid() };
    let idle = family.used_at.checked_add(IDLE_LIFE).is_ok_and(|end| end <= now);
    // Used again after the leeway: somebody has stolen it, for all the server knows, and everything ends.
    let reused =
        family.former.get(&given).is_some_and(|spent| spent.checked_add(leeway).is_ok_and(|end| end < now));
    family.ended |= idle || reused;
    if family.ended {
        return invalid();
    }
    family.used_at = now;
    world.authorizations.refreshes += 1;
    let issued = issue(world, index);
    granted(world, &issued)
}

/// A new pair of a family; the newest refresh token becomes a former one.
fn issue(world: &mut World, family: usize) -> Issued {
    let now = world.now();
    let (refresh_token, access_token) = (world.secret(43), access_token(world));
    let rotating = matches!(world.settings.rotation, Rotation::Rotating { .. });
    let life = world.settings.access_token_life;
    let Authorizations { families, access, .. } = &mut world.authorizations;
    let known = &mut families[family];
    let offline = known.scope.split(' ').any(|scope| scope == "offline_access");
    if offline
        && (rotating || known.newest.is_none())
        && let Some(former) = known.newest.replace(refresh_token)
    {
        known.former.insert(former, now);
    }
    let ends_at = now.checked_add(life).unwrap_or(Timestamp::MAX);
    access.insert(access_token.clone(), Access { family, scope: known.scope.clone(), ends_at });
    Issued { access_token, refresh_token: known.newest.clone(), scope: known.scope.clone() }
}

/// Something of the length and the look of the service's JSON web tokens.
fn access_token(world: &mut World) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": "https://identity.example/oauth2/default", "aud": "https://api.cc.email/v3",
        "cid": world.settings.client_id, "jti": world.secret(20), "exp": world.now().as_second(),
    });
    format!(
        "{}.{}.{}",
        part(json!({ "alg": "RS256", "kid": "sandbox" })),
        part(claims),
        world.secret(JWT_FILLER)
    )
}

fn granted(world: &mut World, issued: &Issued) -> Answer {
    let left_out = world.fault_fires("omit_refresh_token", "token");
    let scope = if world.fault_fires("token_scope", "token") {
        issued.scope.replace("contact_data", "").trim().to_owned()
    } else {
        issued.scope.clone()
    };
    let mut body = json!({
        "token_type": "Bearer",
        "expires_in": world.settings.access_token_life.as_secs(),
        "access_token": issued.access_token,
        "scope": scope,
    });
    if let Some(refresh_token) = issued.refresh_token.as_ref().filter(|_| !left_out) {
        body["refresh_token"] = json!(refresh_token);
    }
    Answer::json(200, body)
}

fn device_authorize(world: &mut World, call: &Call) -> Answer {
    if let Err(refusal) = authenticate(world, call) {
        return refusal;
    }
    let (device_code, user_code) = (world.secret(40), world.secret(8).to_uppercase());
    let scope = call.param("scope").unwrap_or_default().to_owned();
    let interval = world.settings.device_interval;
    let device = Device {
        user_code: user_code.clone(),
        scope,
        issued_at: world.now(),
        allowed: None,
        interval,
        asked_at: None,
    };
    world.authorizations.devices.insert(device_code.clone(), device);
    let page = format!("http://{}/activate", call.host);
    let complete = format!("{page}?user_code={user_code}");
    let body = json!({
        "device_code": device_code, "user_code": user_code, "verification_uri": page,
        "verification_uri_complete": complete, "expires_in": DEVICE_LIFE.as_secs(), "interval": interval.as_secs(),
    });
    Answer::json(200, body)
}

fn activate_page(call: &Call) -> Answer {
    let code = escape(call.param("user_code").unwrap_or_default());
    Answer::html(
        200,
        format!(
            "<!doctype html><title>Activate – sandbox</title><form method=post action=/activate>\
             <input name=user_code value=\"{code}\"><button name=decision value=allow>Allow</button>\
             <button name=decision value=deny>Deny</button></form>"
        ),
    )
}

fn activate(world: &mut World, call: &Call) -> Answer {
    let code = call.param("user_code").unwrap_or_default();
    match world.authorizations.devices.values_mut().find(|device| device.user_code == code) {
        None => Answer::html(400, "<p>That code is not known.</p>"),
        Some(device) => {
            device.allowed = Some(call.param("decision") == Some("allow"));
            Answer::html(200, "<p>Device activated.</p>")
        }
    }
}

fn poll_device(world: &mut World, call: &Call) -> Answer {
    let (now, code) = (world.now(), call.param("device_code").unwrap_or_default().to_owned());
    let told_to_slow_down = world.fault_fires("slow_down", "token");
    let Some(device) = world.authorizations.devices.get_mut(&code) else {
        return oauth(400, "invalid_grant", "The device code is invalid or has expired.");
    };
    if device.issued_at.checked_add(DEVICE_LIFE).is_ok_and(|end| end <= now) {
        return oauth(400, "expired_token", "The device code is invalid or has expired.");
    }
    let before = device.asked_at.replace(call.at);
    let too_soon = before.is_some_and(|before| call.at.duration_since(before) + JITTER < device.interval);
    if too_soon || told_to_slow_down {
        device.interval += SLOWER;
        return oauth(400, "slow_down", "The device asks too often.");
    }
    match device.allowed {
        None => oauth(400, "authorization_pending", "The device authorization is pending."),
        Some(false) => oauth(400, "access_denied", "The resource owner denied the request."),
        Some(true) => {
            let scope = device.scope.clone();
            world.authorizations.devices.remove(&code);
            let issued = world.issue_tokens(&scope);
            granted(world, &issued)
        }
    }
}
