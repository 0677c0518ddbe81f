//! Keys and tokens that another implementation (PyJWT on OpenSSL) has made. The private keys are
//! gone.

/// A public key, and a token of its private one.
pub(super) const RSA: (&str, &str) = (
    "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2tKuLBWx6umStwzYWjJF
jt/v9AArt3G02kyQn7yHBZMpF7ieIJOeiq4vlk4/+PI47of6Cl3XXs7BxsVvpEyY
sv+gPUIXluwa2EmBmn8k8EcIjOpfZrQ/vEIsN8b/qvEtRQbCV8KX6E3RphZIYyJx
sf/Zj/XqmWHTn2eSILMF8tibipOf/c/8JjTFzJ+hJmWsFPRUfYjtkpCGHW72zOZi
mGcJk9UcbF8O05fCcUA+ju/YUuqEY7vKgpSokVtOFxL216hdtRN06+YFIruBadEY
2fJdn81/6SsQPKtDJXjDfG1BikWu952jnrhVgWxpMjQsXwjg+fAmW72mgR7MAM2+
WQIDAQAB
-----END PUBLIC KEY-----
",
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzZW5zb3ItNyIsImV4cCI6NDEwMjQ0NDgwMCwiYXVkIjpbIm1xdHQiLCJ4Il0sImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5vcmciLCJncm91cHMiOlsic2Vuc29ycyIsImhhbGwtMyJdLCJjaWQiOiJjMSJ9.0Ur8jDCK0z_JcTZqRxvhOaN37QJa083SovdVn2Q7MU5dP6F5r76PJgmga7OTgX7LDwrKbGO2dPFWRZ30CixQL3VMu2uzgMUyH2qWaES-fC--FkhXzQSM3k11WVSuRR1O3EQx9f4Tb6TmgOYlu5cKlKF_se7MZyKtUJQuTEYg4kZbkzDP84DpWOBdOSKnprwilYtZ5gi1n-yyeEd7LCcnBK7jJEFG3CmyafhqdRAxnvgrPYuKGBpktOpUtRFPByAA31Fs6hpKNL_-mrx7pYyZoTkCuHNZ0kVPp1BJZXIXcGLFvlqQnXbZY6MQxTlnrCXPrMf8wm2XkNG9lSGLsmQcMg",
);

/// A public key, and a token of its private one.
pub(super) const EC: (&str, &str) = (
    "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELTFcHsT3I+aZsPF00Dt7/F6eF8X4
ZCgPK8JNqupTth6Lzf7yoJVdNVu97NCNnDOhJdHH4nDhirbPCzIkhU5fVA==
-----END PUBLIC KEY-----
",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzZW5zb3ItNyIsImV4cCI6NDEwMjQ0NDgwMCwiYXVkIjpbIm1xdHQiLCJ4Il0sImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5vcmciLCJncm91cHMiOlsic2Vuc29ycyIsImhhbGwtMyJdLCJjaWQiOiJjMSJ9.ky7dud8gAQm42rO2pIaXZ1t2IFlrGGmIUIoH7C-kdF474xx6cppHolhi3Uzpgqqr5uk1dhmQRox7PzlEpC7jbA",
);

/// A public key, and a token of its private one.
pub(super) const ED: (&str, &str) = (
    "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEANg815G5r7kRinanVAwv9DkQ16Nd5hCnpiPPBeVhZyWM=
-----END PUBLIC KEY-----
",
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzZW5zb3ItNyIsImV4cCI6NDEwMjQ0NDgwMCwiYXVkIjpbIm1xdHQiLCJ4Il0sImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5vcmciLCJncm91cHMiOlsic2Vuc29ycyIsImhhbGwtMyJdLCJjaWQiOiJjMSJ9.mXbeYQV90C7GX_CWVio2HOGkGyj25fhVqSGG-mkb8yv0P8Xta8mCbcg2eQpt9CV887LS243WUZt5T6GtSUCxDQ",
);

pub(super) const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEt7JKAtBBxZEb7fJh2KWyhxAFkuKN5gsu
LZBrmnV2hyj6qX54x1d+z3rbgnAsxggP68rNzOG401D84y4+8Wak0F/Iu2ixZ408
Qn6+ni0EMNSTO6/2yoaR0LTsCa8AJ3Ww
-----END PUBLIC KEY-----
";

pub(super) const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDPZrJoOT/ENCVhI8ua9rAtm2QX
dofgUYDf7+AniTuvt9EALmchELbBoyP01epp178DN7Et2d4ZDfiqJw3Qvaqu0zyl
5DJ1ywKzXi6rt9qtsyj/2pwA7b2BY5aEx/AVe1LwhIIOaW+AfJVGPHjLjiqFTkQd
fLgNeZ27pZ8C1Yza7wIDAQAB
-----END PUBLIC KEY-----
";

/// The same keys, called r, e and d.
pub(super) const JWKS: &str = r#"{"keys": [{"kty": "RSA", "n": "2tKuLBWx6umStwzYWjJFjt_v9AArt3G02kyQn7yHBZMpF7ieIJOeiq4vlk4_-PI47of6Cl3XXs7BxsVvpEyYsv-gPUIXluwa2EmBmn8k8EcIjOpfZrQ_vEIsN8b_qvEtRQbCV8KX6E3RphZIYyJxsf_Zj_XqmWHTn2eSILMF8tibipOf_c_8JjTFzJ-hJmWsFPRUfYjtkpCGHW72zOZimGcJk9UcbF8O05fCcUA-ju_YUuqEY7vKgpSokVtOFxL216hdtRN06-YFIruBadEY2fJdn81_6SsQPKtDJXjDfG1BikWu952jnrhVgWxpMjQsXwjg-fAmW72mgR7MAM2-WQ", "e": "AQAB", "kid": "r"}, {"kty": "EC", "crv": "P-256", "x": "LTFcHsT3I-aZsPF00Dt7_F6eF8X4ZCgPK8JNqupTth4", "y": "i83-8qCVXTVbvezQjZwzoSXRx-Jw4Yq2zwsyJIVOX1Q", "kid": "e"}, {"x": "Ng815G5r7kRinanVAwv9DkQ16Nd5hCnpiPPBeVhZyWM", "kty": "OKP", "crv": "Ed25519", "kid": "d"}]}"#;

/// A token of key e that says so, and one of key r that says it were of e.
pub(super) const NAMED: (&str, &str) = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJzZW5zb3ItNyIsImV4cCI6NDEwMjQ0NDgwMCwiYXVkIjpbIm1xdHQiLCJ4Il0sImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5vcmciLCJncm91cHMiOlsic2Vuc29ycyIsImhhbGwtMyJdLCJjaWQiOiJjMSJ9.iv0RN7irhuaao-zsaZA2w2zbv8lfASe0c5eP4sWzgAR1qHaw1nx8CQkztIjEIccatdpAKmNMSC80ueZG65NpEg",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImUiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJzZW5zb3ItNyIsImV4cCI6NDEwMjQ0NDgwMCwiYXVkIjpbIm1xdHQiLCJ4Il0sImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5vcmciLCJncm91cHMiOlsic2Vuc29ycyIsImhhbGwtMyJdLCJjaWQiOiJjMSJ9.OnYjnJQVGzOE6hvGJaIgO0Tq4ID93PHJgL4gWfhZqhJTHaMncvq-nOm1KLHZgx5ZehuV_ATKjz3ILerKulIGKVLgdhxFFlrux8salp6xJtjETgN52NBr0kCx5AgzJyVkY_uNZq1LroiiLUAdVhPOaUWowA75pCiC4lIVrVt_0_bFby6pDE1Bd4HPp0h2RQlY6W6MBp7E7Wo7e4GCleF-zT6l9OK61ECvAhaZbmDJaNYUTG-vSDBcSwLaIbvgVNKhRBGCkgBCcS4d8Coa0BoaQ_QtR9UWbuJ816rKJbxaLwbCVrEqo66OuRdfe8MEsxM7ShhreXlVivMdXVE5Amo5Jg",
);
