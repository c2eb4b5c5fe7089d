//! Getting, keeping and renewing the authorization (RFC 6749, 7636, 8252, 8628).
