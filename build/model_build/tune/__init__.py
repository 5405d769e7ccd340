"""The tuner: which hosting of a model is best on this machine, measured on a real tritonserver.

command ─▶ sweep ─▶ schedule, grid, figures, choose      pure: what to measure, what it says
             └────▶ host: trial_host ─▶ load             the server, and the load on it
        ─▶ report, plot, serving_profile
"""
