"""The sample mail, contacts and calendar, and the program that makes them.

Everybody in them is invented; all addresses are at example.org and example.com.
"""
