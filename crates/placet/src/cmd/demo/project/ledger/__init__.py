"""Accounts that add up."""
