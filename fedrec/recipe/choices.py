"""The types of a recipe's keys that name components."""

from fedrec.components.chosen import chosen, chosen_list

ENCODER, LOSS = "transformer", "s2ce"  # of sequential models
AlgorithmChoice = chosen("algorithm", "fecosr")
EncoderChoice = chosen("encoder", ENCODER)
LossChoice = chosen("loss", LOSS)
AggregatorChoice = chosen("aggregator", "mean")
SemanticsChoice = chosen("semantics", "auto")
StagesChoice = chosen_list("stage")
MetricsChoice = chosen_list("metric")
