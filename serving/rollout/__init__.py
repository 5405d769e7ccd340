"""A promotion that goes on by itself, judged by what customers get while it goes on."""
