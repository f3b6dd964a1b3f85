"""First trainings that several runs of an experiment begin with: trained once, charged to each."""
