"""The types of a recipe's keys that name components."""

from fedrec.components.chosen import chosen, chosen_list

AlgorithmChoice = chosen("algorithm", "fecosr")
EncoderChoice = chosen("encoder", "transformer")  # of sequential models
LossChoice = chosen("loss", "s2ce")  # of sequential models
AggregatorChoice = chosen("aggregator", "mean")
SemanticsChoice = chosen("semantics", "auto")
StagesChoice = chosen_list("stage")
MetricsChoice = chosen_list("metric")
