"""The components that come with fedrec, by noun and name, in the form of entry points: ``module:attribute``."""

HOUSE: dict[str, dict[str, str]] = {
    "encoder": {
        "transformer": "fedrec.encoders.transformer:Transformer",
        "gru4rec": "fedrec.encoders.gru4rec:GRU4Rec",
        "nextitnet": "fedrec.encoders.nextitnet:NextItNet",
    },
}
